import assert from "node:assert/strict";
import { test } from "node:test";
import { parseOptions } from "./options.ts";

const parse = (...args: string[]) => parseOptions(args, () => 7);

test("the defaults have a new seed", () => {
  assert.deepEqual(parse(), {
    minutes: 10,
    pods: 20,
    csv: undefined,
    seed: 7,
    kill: true,
    load: undefined,
    handlers: [],
  });
});

test("every option can be given", () => {
  const options = parse(
    "--minutes",
    "0.5",
    "--pods",
    "3",
    "--csv",
    "x.csv",
    "--seed",
    "9",
    "--no-kill",
    "--load",
    "300",
    "--handlers",
    "runc,runsc",
  );
  assert.deepEqual(options, {
    minutes: 0.5,
    pods: 3,
    csv: "x.csv",
    seed: 9,
    kill: false,
    load: 300,
    handlers: ["runc", "runsc"],
  });
  assert.equal(parse("--help"), "help");
});

test("a wrong value is refused, naming its flag", () => {
  assert.throws(() => parse("--minutes", "0"), /--minutes must be more than 0/);
  assert.throws(() => parse("--pods", "1.5"), /--pods must be a whole number/);
  assert.throws(() => parse("--seed", "x"), /--seed must be a whole number/);
  assert.throws(() => parse("--handlers", "runc,rusc"), /--handlers does not know rusc; it knows crun, runc, runsc, /);
  assert.throws(() => parse("--pod", "3"), /--pod/);
});
