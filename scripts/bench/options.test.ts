import assert from "node:assert/strict";
import { test } from "node:test";
import { type BenchOptions, parseOptions } from "./options.ts";
import { callNames } from "./round.ts";

test("the defaults are to measure everything, with a peer", () => {
  const only = new Set<string>([...callNames, "execs", "memory", "stats", "streams", "handlers", "hung"]);
  assert.deepEqual(parseOptions([]), {
    peer: undefined,
    hasPeer: true,
    handler: "",
    rounds: 40,
    pods: 20,
    statsPods: 100,
    pollSeconds: 60,
    large: false,
    json: undefined,
    only,
  });
});

test("every option can be given, and parts measured alone", () => {
  const options = parseOptions([
    "--no-peer",
    "--handler",
    "runc",
    "--rounds",
    "3",
    "--pods",
    "2",
    "--stats-pods",
    "4",
    "--poll-seconds",
    "5",
    "--large",
    "--json",
    "x.json",
    "--only",
    "hung,ExecSync",
  ]);
  assert.deepEqual(options, {
    peer: undefined,
    hasPeer: false,
    handler: "runc",
    rounds: 3,
    pods: 2,
    statsPods: 4,
    pollSeconds: 5,
    large: true,
    json: "x.json",
    only: new Set(["hung", "ExecSync"]),
  });
  assert.deepEqual(
    [["handlers"], ["handlers,execs"]].map((only) => (parseOptions(["--only", ...only]) as BenchOptions).hasPeer),
    [false, true],
  );
  assert.equal(parseOptions(["--help"]), "help");
});

test("a wrong value is refused, naming its flag", () => {
  assert.throws(() => parseOptions(["--only", "hang"]), /--only does not know hang; it knows .*hung/);
  assert.throws(() => parseOptions(["--peer", "/run/x.sock"]), /--peer must be unix:/);
  assert.throws(() => parseOptions(["--rounds", "0"]), /--rounds must be a whole number/);
});
