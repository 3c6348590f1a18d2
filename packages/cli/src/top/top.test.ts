import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { ContainerState, ContainerStats, ContainerStatus } from "@keelson/cri/gen/runtime/v1/api.ts";
import { Interrupt, type Output } from "../io.ts";
import { startFakeRuntime } from "../testing/fake-runtime.ts";

test("on a terminal: redrawn in its own screen, sorted by keys, and restored by q and by a signal", async (t) => {
  const names = ["big", "small\u001b[2J"];
  const fake = await startFakeRuntime(t, {
    listContainerStats: () =>
      Promise.resolve({
        stats: names.map((name, i) =>
          ContainerStats.fromPartial({
            attributes: { id: name },
            cpu: { usageNanoCores: { value: i === 0 ? 10n : 900_000_000n } },
            memory: { workingSetBytes: { value: i === 0 ? 9_000_000n : 1_000_000n } },
          }),
        ),
      }),
    listPodSandboxStats: () => Promise.resolve({ stats: [] }),
    listPodSandboxMetrics: () => Promise.resolve({ podMetrics: [] }),
  });
  fake.containers = names.map((name) =>
    ContainerStatus.fromPartial({ id: name, metadata: { name }, state: ContainerState.CONTAINER_RUNNING }),
  );

  const run = async (end: (keys: PassThrough, interrupt: AbortController) => void) => {
    const keys = new PassThrough();
    const interrupt = new AbortController();
    const modes: boolean[] = [];
    const screens: string[] = [];
    let listeners = 0;
    const stdout: Output = {
      isTerminal: true,
      columns: 60,
      rows: 24,
      onResize: () => ((listeners += 1), { [Symbol.dispose]: () => (listeners -= 1) }),
      write: (data) => (screens.push(String(data)), Promise.resolve()),
    };
    const stdin = { isTerminal: true, open: () => keys, setRaw: (isRaw: boolean) => void modes.push(isRaw) };
    const ended = fake.keelctlWith(
      {
        stdout,
        stdin,
        signal: interrupt.signal,
        sleep: (_, signal) =>
          new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error))),
      },
      "top",
    );
    while (screens.length < 2) await setImmediate();
    keys.write("m");
    while (screens.length < 3) await setImmediate();
    end(keys, interrupt);
    return { ...(await ended), screens, modes, listeners };
  };

  for (const end of [
    (keys: PassThrough) => void keys.write("q"),
    (keys: PassThrough) => void keys.write("\u0003"),
    (_: PassThrough, interrupt: AbortController) => interrupt.abort(new Interrupt(143)),
  ]) {
    const { code, err, screens, modes, listeners } = await run(end);
    assert.deepEqual({ code, err, modes, listeners }, { code: 0, err: "", modes: [true, false], listeners: 0 });
    assert.equal(screens[0], "\u001b[?1049h\u001b[?25l");
    assert.equal(screens.at(-1), "\u001b[?25h\u001b[?1049l");
    assert.ok(screens[1]!.indexOf("small\\x1b[2J") < screens[1]!.indexOf("big"), "by CPU");
    assert.ok(screens[2]!.indexOf("big") < screens[2]!.indexOf("small\\x1b[2J"), "by memory");
    // oxlint-disable-next-line no-control-regex
    for (const line of screens[1]!.replaceAll(/\u001b\[[0-9]*[A-Z]/g, "").split("\r\n"))
      assert.ok(line.length <= 60, line);
  }
});
