import assert from "node:assert/strict";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { silentLog } from "@keelson/base/log.ts";
import { StatusError, type Code } from "@keelson/base/status.ts";
import { openDatabase } from "@keelson/store/database.ts";
import { Registry, type RegistryOptions } from "@keelson/testkit/registry.ts";
import type { Images } from "../open-images.ts";
import { openTestImages } from "./test-images.ts";

export interface PullFixture {
  root: string;
  images: Images;
  /** Chain ids of layers that count as used by containers. */
  inUse: Set<string>;
}

/** Images in a temporary directory, removed after the test. */
export async function openStore(
  t: TestContext,
  options: { keepLayers?: boolean; hostsDirectories?: string[] } = {},
): Promise<PullFixture> {
  const root = fs.mkdtempSync(join(tmpdir(), "keelson-pull-"));
  const db = openDatabase(join(root, "state.db"));
  const inUse = new Set<string>();
  const images = await openTestImages({
    root,
    db,
    log: silentLog,
    hostsDirectories: options.hostsDirectories ?? [],
    keepLayers: options.keepLayers ?? false,
    layersInUse: () => inUse,
  });
  t.after(async () => {
    await images[Symbol.asyncDispose]();
    db.close();
    fs.rmSync(root, { recursive: true });
  });
  return { root, images, inUse };
}

/** A registry in this process, stopped after the test. */
export async function startRegistry(t: TestContext, options: RegistryOptions = {}): Promise<Registry> {
  const registry = await Registry.start(options);
  t.after(() => registry[Symbol.asyncDispose]());
  return registry;
}

/** A deadline that no working pull reaches. */
export const soon = () => AbortSignal.timeout(60_000);

/** Matches a StatusError with this code and message. */
export function isStatus(code: Code, why: RegExp) {
  return (error: unknown) => error instanceof StatusError && error.code === code && why.test(error.message);
}

/** The content of a file in an image, from the uppermost layer that has it. */
export function contentOf(images: Images, reference: string, path: string): string {
  const image = images.store.find(reference);
  assert.ok(image !== undefined, reference);
  const found = images.store
    .lowerDirectories(image)
    .map((dir) => join(dir, path))
    .find((at) => fs.existsSync(at));
  assert.ok(found !== undefined, `${reference} has no ${path}`);
  return fs.readFileSync(found, "utf8");
}

/** What private registries of tests ask for. */
export const credentials = {
  username: "user",
  password: "geheim",
  identityToken: "",
  registryToken: "",
  serverAddress: "",
};
