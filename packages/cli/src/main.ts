import { constants } from "node:os";
import { setTimeout } from "node:timers/promises";
import { isatty } from "node:tty";
import { type Input, Interrupt, type Io, type Output } from "./io.ts";
import { runProgram } from "./program.ts";

/** How a shell reports a program that a broken pipe has ended, as it ends crictl. */
const brokenPipe = 141;

function outputTo(stream: NodeJS.WriteStream): Output {
  stream.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? brokenPipe : 1));
  return {
    isTerminal: stream.isTTY,
    get columns() {
      return stream.columns || 80;
    },
    get rows() {
      return stream.rows || 24;
    },
    onResize(listener) {
      stream.on("resize", listener);
      return { [Symbol.dispose]: () => void stream.off("resize", listener) };
    },
    write: (data) => new Promise((resolve) => stream.write(data, () => resolve())),
  };
}

/** Node itself restores the terminal when the process exits. */
function standardInput(): Input {
  let isRaw = false;
  // The shell, which had stopped us, has changed the terminal's mode; libuv believes that it is still raw.
  process.on("SIGCONT", () => {
    if (!isRaw) return;
    process.stdin.setRawMode(false);
    process.stdin.setRawMode(true);
  });
  return {
    isTerminal: isatty(0),
    open: () => process.stdin,
    setRaw(wanted) {
      if (!isatty(0) || wanted === isRaw) return;
      isRaw = wanted;
      process.stdin.setRawMode(wanted);
    },
  };
}

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

async function readSecret(prompt: string): Promise<string> {
  if (!process.stdin.isTTY)
    throw new Error("--username asks for a password on the terminal, and there is none; use --creds or CRICTL_CREDS");
  process.stderr.write(prompt);
  process.stdin.setRawMode(true);
  try {
    let secret = "";
    for await (const chunk of process.stdin) {
      for (const key of String(chunk)) {
        if (key === "\r" || key === "\n" || key === "\u0004") return secret;
        if (key === "\u0003") throw new Error("interrupted");
        secret = key === "\u007f" || key === "\b" ? secret.slice(0, -1) : secret + key;
      }
    }
    return secret;
  } finally {
    process.stdin.setRawMode(false);
    process.stderr.write("\n");
  }
}

const interrupt = new AbortController();
for (const name of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const) {
  const exitCode = 128 + constants.signals[name];
  process.on(name, () => {
    if (interrupt.signal.aborted) process.exit(exitCode);
    interrupt.abort(new Interrupt(exitCode));
  });
}

const io: Io = {
  stdout: outputTo(process.stdout),
  stderr: outputTo(process.stderr),
  stdin: standardInput(),
  env: process.env,
  readStdin,
  readSecret,
  now: () => Date.now(),
  sleep: (ms, signal) => setTimeout(ms, undefined, { signal }),
  signal: interrupt.signal,
};

process.exitCode = await runProgram(process.argv.slice(2), io);
// After an interrupt nobody wants to wait until somebody reads what is still buffered for a pipe.
if (interrupt.signal.aborted) process.exit();
