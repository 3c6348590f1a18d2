import { relative } from "node:path";
import { test, type TestContext } from "node:test";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { gvisorExceptions } from "./gvisor-exceptions.ts";
import { skipGvisor } from "./gvisor.ts";
import { type RuntimeName, runtimes } from "./test-node.ts";

/** `runtimes`, and gVisor with its exceptions: see `testFor`. */
export const eachRuntime = [...runtimes, "runsc"] as const;

/** For `describe(name, { skip }, …)`. */
export function skipFor(runtime: RuntimeName): string | false {
  return runtime === "runsc" ? skipGvisor : skip;
}

type Body = (t: TestContext) => void | Promise<void>;
interface Options {
  readonly skip?: string | boolean;
  readonly timeout?: number;
}

/** node:test's `test`, which leaves out what is not for this runtime, and says why. */
export function testFor(runtime: RuntimeName): (name: string, ...args: [Body] | [Options, Body]) => void {
  return (name, ...args) => {
    const [options, body] = args.length === 1 ? [{}, args[0]] : args;
    const why = options.skip !== undefined && options.skip !== false ? options.skip : reasonFor(runtime, name);
    void test(name, { ...options, skip: why }, body);
  };
}

function reasonFor(runtime: RuntimeName, name: string): string | false {
  if (runtime !== "runsc") return false;
  const ofFile = gvisorExceptions[relative(`${import.meta.dirname}/..`, process.argv[1]!)];
  const exception = typeof ofFile === "object" ? ofFile[name] : undefined;
  return exception === undefined ? skipGvisor : `not with gVisor: ${exception}`;
}
