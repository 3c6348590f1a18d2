import { findBinary } from "@keelson/runtimes/find-program.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";

/** For `test(name, { skip }, …)` of what needs gVisor; by itself it is `skip`. */
export const skipGvisor =
  skip !== false
    ? skip
    : findBinary("runsc") === undefined
      ? "runsc is not installed: npm run setup takes it from bookworm-backports"
      : false;
