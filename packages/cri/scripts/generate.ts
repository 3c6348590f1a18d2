/**
 * Generates src/gen from proto/: the messages with ts-proto, and a table of all messages, fields and enums for code
 * that walks them (JSON, the table in docs/cri.md). `--out DIR` writes elsewhere, for the test that compares.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { generateMessages } from "../../../scripts/generate-messages.ts";

const here = join(import.meta.dirname, "..");
const bin = join(here, "../../node_modules/.bin");
const { values } = parseArgs({ options: { out: { type: "string", default: join(here, "src/gen") } } });

interface FieldDescriptor {
  name: string;
  jsonName: string;
  number: number;
  label: string;
  type: string;
  typeName?: string;
  options?: { deprecated?: boolean };
}
interface MessageDescriptor {
  name: string;
  field?: FieldDescriptor[];
  nestedType?: (MessageDescriptor & { options?: { mapEntry?: boolean } })[];
  enumType?: EnumDescriptor[];
}
interface EnumDescriptor {
  name: string;
  value: { name: string; number?: number }[];
}

// Plain definitions of the services, without gRPC: packages that only use the messages must not depend on it.
generateMessages(here, values.out, ["outputServices=generic-definitions"]);
mkdirSync(values.out, { recursive: true });
writeFileSync(join(values.out, "descriptor.ts"), descriptorModule());

function descriptorModule(): string {
  const { messages, enums } = readDescriptors();
  const lines = [
    "// Made by scripts/generate.ts from proto/; do not edit.",
    'import type { EnumDescriptor, FieldDescriptor } from "../descriptor.ts";',
    "",
    "export const enums: Readonly<Record<string, EnumDescriptor>> = {",
    ...enums.map(
      (e) => `  ${name(e.name)}: ${JSON.stringify(Object.fromEntries(e.value.map((v) => [v.name, v.number ?? 0])))},`,
    ),
    "};",
    "",
    "export const messages: Readonly<Record<string, readonly FieldDescriptor[]>> = {",
  ];
  for (const message of messages) {
    lines.push(
      `  ${name(message.name)}: [`,
      ...(message.field ?? []).map((f) => `    ${fieldEntry(message, f)},`),
      "  ],",
    );
  }
  return [...lines, "};", ""].join("\n");
}

function readDescriptors(): { messages: MessageDescriptor[]; enums: EnumDescriptor[] } {
  const dir = mkdtempSync(join(tmpdir(), "keelson-generate-"));
  try {
    const set = join(dir, "set.json");
    execFileSync(join(bin, "buf"), ["build", "-o", set], { cwd: here, stdio: "inherit" });
    const { file } = JSON.parse(readFileSync(set, "utf8")) as {
      file: { messageType: MessageDescriptor[]; enumType: EnumDescriptor[] }[];
    };
    const messages = file.flatMap((f) => f.messageType);
    const nestedEnums = messages.flatMap((m) => (m.enumType ?? []).map((e) => ({ ...e, name: `${m.name}.${e.name}` })));
    return { messages, enums: [...file.flatMap((f) => f.enumType), ...nestedEnums] };
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function fieldEntry(message: MessageDescriptor, field: FieldDescriptor): string {
  const entry = message.nestedType?.find(
    (n) => n.options?.mapEntry === true && field.typeName?.endsWith(`.${message.name}.${n.name}`),
  );
  const kind = field.type.replace("TYPE_", "").toLowerCase();
  const of = field.typeName?.replace(".runtime.v1.", "");
  // ts-proto's key for a field is its JSON name, except for names that start with a capital.
  return JSON.stringify({
    name: field.name,
    key: field.jsonName,
    number: field.number,
    kind: entry === undefined ? kind : "map",
    ...(entry === undefined && of !== undefined ? { of } : {}),
    ...(entry === undefined && field.label === "LABEL_REPEATED" ? { repeated: true } : {}),
    ...(field.options?.deprecated === true ? { deprecated: true } : {}),
  });
}

function name(text: string): string {
  return text.includes(".") ? JSON.stringify(text) : text;
}
