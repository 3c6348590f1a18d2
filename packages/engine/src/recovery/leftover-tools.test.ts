import assert from "node:assert/strict";
import { test } from "node:test";
import { isLeftoverTool } from "./leftover-tools.ts";

const owners = { pods: new Set(["pod1"]), creating: new Set(["new1"]), runtimeRoots: ["/run/keelson/runtimes/crun"] };
const root = "--root=/run/keelson/runtimes/crun";
const monitor = (id: string) => ["conmon", "--api-version", "1", "--cid", id, "--runtime-arg", root];

test("the tools that work for a pod or container are distinguished from all others", () => {
  const cases: [boolean, string[], string[]][] = [
    [true, ["/opt/cni/bin/portmap"], ["PATH=/bin", "CNI_CONTAINERID=pod1", "CNI_COMMAND=ADD"]],
    [true, ["/usr/sbin/iptables", "-t", "nat"], ["CNI_COMMAND=ADD", "CNI_CONTAINERID=pod1"]],
    [false, ["/opt/cni/bin/bridge"], ["CNI_CONTAINERID=pod1", "CNI_COMMAND=DEL"]],
    [false, ["/opt/cni/bin/portmap"], ["CNI_CONTAINERID=of another runtime", "CNI_COMMAND=ADD"]],
    [true, monitor("new1"), []],
    [false, monitor("running1"), []],
    [true, ["/usr/bin/crun", root, "create", "--bundle", "/b", "new1"], []],
    [false, ["/usr/bin/crun", root, "create", "--bundle", "/b", "waits for its start"], []],
    [true, ["/usr/bin/crun", root, "--systemd-cgroup", "start", "c1"], []],
    [true, ["/usr/bin/crun", root, "delete", "--force", "c1"], []],
    [true, ["/usr/bin/crun", root, "exec", "--process", "/p.json", "c1"], []],
    [false, ["/usr/bin/crun", "--root=/run/crun", "delete", "c1"], []],
    [false, ["sh", "-c", "start"], ["PATH=/bin"]],
  ];
  for (const [expected, args, environment] of cases)
    assert.equal(isLeftoverTool(args, environment, owners), expected, args.join(" "));
});
