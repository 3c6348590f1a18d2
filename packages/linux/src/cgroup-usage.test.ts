import assert from "node:assert/strict";
import { test } from "node:test";
import { pressure, usageOf } from "./cgroup-usage.ts";

const v1 = {
  "cpuacct.usage": "6148867938\n",
  "cpuacct.usage_user": "4643839842\n",
  "cpuacct.usage_sys": "1167983435\n",
  "cpu.stat": "nr_periods 12\nnr_throttled 3\nthrottled_time 450000000\nnr_bursts 0\nburst_time 0\n",
  "memory.usage_in_bytes": "20971520\n",
  "memory.stat":
    "cache 1\nrss 2\nmapped_file 3\nswap 5\npgfault 6\ninactive_file 7\ntotal_cache 8388608\ntotal_rss 12582912\ntotal_mapped_file 4096\ntotal_swap 1048576\ntotal_pgfault 5000\ntotal_pgmajfault 12\ntotal_inactive_file 4194304\n",
  "memory.limit_in_bytes": "67108864\n",
  "memory.memsw.limit_in_bytes": "100663296\n",
  "memory.max_usage_in_bytes": "33554432\n",
  "memory.failcnt": "4\n",
  "memory.kmem.usage_in_bytes": "655360\n",
  "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
  "pids.current": "7\n",
  "pids.max": "100\n",
  "blkio.throttle.io_service_bytes_recursive":
    "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 12288\n8:0 Async 0\n8:0 Discard 0\n8:0 Total 12288\n253:1 Read 1\nTotal 12289\n",
  "blkio.throttle.io_serviced_recursive": "8:0 Read 1\n8:0 Write 2\n8:0 Total 3\nTotal 3\n",
  "hugetlb.2MB.usage_in_bytes": "4194304\n",
  "hugetlb.2MB.max_usage_in_bytes": "6291456\n",
};

const v2 = {
  "cpu.stat":
    "usage_usec 6148867\nuser_usec 4643839\nsystem_usec 1167983\nnice_usec 0\ncore_sched.force_idle_usec 0\nnr_periods 12\nnr_throttled 3\nthrottled_usec 450000\nnr_bursts 0\nburst_usec 0\n",
  "cpu.pressure":
    "some avg10=1.50 avg60=0.75 avg300=0.10 total=123456\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
  "memory.current": "20971520\n",
  "memory.stat":
    "anon 12582912\nfile 8388608\nkernel 655360\nkernel_stack 16384\npagetables 32768\nfile_mapped 4096\ninactive_anon 1\nactive_anon 2\ninactive_file 4194304\nactive_file 3\nslab 12345\npgfault 5000\npgmajfault 12\n",
  "memory.max": "67108864\n",
  "memory.peak": "33554432\n",
  "memory.events": "low 0\nhigh 0\nmax 4\noom 1\noom_kill 2\noom_group_kill 0\n",
  "memory.swap.current": "1048576\n",
  "memory.swap.max": "33554432\n",
  "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
  "pids.current": "7\n",
  "pids.max": "100\n",
  "io.stat":
    "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n253:1 rbytes=1 wbytes=0 rios=0 wios=0 dbytes=0 dios=0\n7:0 \n",
  "io.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=8\n",
  "hugetlb.2MB.current": "4194304\n",
};

const files = (of: Record<string, string>) => new Map(Object.entries(of));

test("v1 and v2 say the same in different ways", () => {
  const one = usageOf(files(v1), ["2MB"]);
  const two = usageOf(files(v2), ["2MB"]);
  assert.deepEqual(one.memory, {
    usageBytes: 20971520n,
    workingSetBytes: 16777216n,
    rssBytes: 12582912n,
    cacheBytes: 8388608n,
    mappedFileBytes: 4096n,
    kernelBytes: 655360n,
    limitBytes: 67108864n,
    maxUsageBytes: 33554432n,
    limitHits: 4n,
    pageFaults: 5000n,
    majorPageFaults: 12n,
    oomKills: 2n,
  });
  const { pressure: memoryPressure, ...memory } = two.memory!;
  assert.deepEqual(memory, one.memory);
  assert.equal(memoryPressure?.some?.totalUs, 0n);
  assert.deepEqual(one.swap, { usageBytes: 1048576n, limitBytes: 33554432n });
  assert.deepEqual(two.swap, one.swap);
  assert.deepEqual(one.pids, { current: 7n, limit: 100n });
  assert.deepEqual(two.pids, one.pids);
  const throttling = { periods: 12n, throttledPeriods: 3n, throttledNs: 450000000n };
  assert.deepEqual(one.cpu, { usageNs: 6148867938n, userNs: 4643839842n, systemNs: 1167983435n, ...throttling });
  assert.deepEqual(two.cpu, {
    usageNs: 6148867000n,
    userNs: 4643839000n,
    systemNs: 1167983000n,
    ...throttling,
    pressure: pressure(v2["cpu.pressure"]),
  });
  const disk = { major: 8, minor: 0, readBytes: 4096n, writtenBytes: 8192n, reads: 1n, writes: 2n };
  const other = { major: 253, minor: 1, readBytes: 1n, writtenBytes: 0n, reads: 0n, writes: 0n };
  assert.deepEqual(one.io, { devices: [disk, other] });
  assert.deepEqual(two.io?.devices.slice(0, 2), [disk, other]);
  assert.equal(two.io?.pressure?.full?.totalUs, 8n);
  assert.deepEqual(
    [one.hugepages, two.hugepages],
    [[{ size: "2MB", usageBytes: 4194304n, maxUsageBytes: 6291456n }], [{ size: "2MB", usageBytes: 4194304n }]],
  );
});

test("no limit is undefined, however v1 and v2 write it", () => {
  const unlimited = {
    "memory.limit_in_bytes": "9223372036854771712\n",
    "memory.memsw.limit_in_bytes": "9223372036854771712\n",
    "pids.max": "max\n",
  };
  const one = usageOf(files({ ...v1, ...unlimited }));
  const two = usageOf(files({ ...v2, "memory.max": "max\n", "memory.swap.max": "max\n", "pids.max": "max\n" }));
  for (const { memory, swap, pids } of [one, two])
    assert.deepEqual([memory?.limitBytes, swap?.limitBytes, pids?.limit], [undefined, undefined, undefined]);
});

test("pressure is read as some and full; without either it is undefined", () => {
  assert.deepEqual(pressure(v2["cpu.pressure"]), {
    some: { avg10: 1.5, avg60: 0.75, avg300: 0.1, totalUs: 123456n },
    full: { avg10: 0, avg60: 0, avg300: 0, totalUs: 7n },
  });
  assert.equal(pressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n")?.full, undefined);
  assert.equal(pressure(""), undefined);
});

test("beside v1, the pressure of a v2 cgroup counts only when it has processes", () => {
  const beside = { ...v1, "cpu.pressure": v2["cpu.pressure"] };
  assert.equal(usageOf(files({ ...beside, "cgroup.events": "populated 0\nfrozen 0\n" })).cpu?.pressure, undefined);
  assert.equal(
    usageOf(files({ ...beside, "cgroup.events": "populated 1\nfrozen 0\n" })).cpu?.pressure?.some?.avg10,
    1.5,
  );
});

test("file pages that appear between two reads do not make a working set negative", () => {
  assert.equal(usageOf(files({ ...v2, "memory.current": "4096\n" })).memory?.workingSetBytes, 0n);
});

test("what a host does not account for is absent, and so is nonsense", () => {
  assert.deepEqual(usageOf(new Map()), { hugepages: [] });
  assert.deepEqual(
    usageOf(
      files({
        "cpuacct.usage": "x",
        "memory.current": "-1",
        "pids.current": "",
        "cpu.stat": "usage_usec\n",
        "io.stat": "garbage",
      }),
    ),
    { io: { devices: [] }, hugepages: [] },
  );
});
