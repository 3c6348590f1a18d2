/** The traffic of an interface since it was created (proc_pid_net(5), `dev`). */
export interface InterfaceCounters {
  name: string;
  rxBytes: bigint;
  rxPackets: bigint;
  rxErrors: bigint;
  rxDropped: bigint;
  txBytes: bigint;
  txPackets: bigint;
  txErrors: bigint;
  txDropped: bigint;
}

/** The interfaces in the text of /proc/net/dev, without the loopback. Malformed lines are left out. */
export function parseNetDev(text: string): InterfaceCounters[] {
  return text.split("\n").flatMap((line) => {
    const [, name, numbers] = /^\s*(\S+):\s*(\d[\d\s]*)$/.exec(line) ?? [];
    if (name === undefined || numbers === undefined || name === "lo") return [];
    const n = numbers.trim().split(/\s+/).map(BigInt);
    const [rxBytes, rxPackets, rxErrors, rxDropped] = n;
    const [txBytes, txPackets, txErrors, txDropped] = n.slice(8);
    if (rxBytes === undefined || rxPackets === undefined || rxErrors === undefined || rxDropped === undefined)
      return [];
    if (txBytes === undefined || txPackets === undefined || txErrors === undefined || txDropped === undefined)
      return [];
    return [{ name, rxBytes, rxPackets, rxErrors, rxDropped, txBytes, txPackets, txErrors, txDropped }];
  });
}
