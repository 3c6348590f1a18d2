import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { parseImageConfig } from "./config.ts";
import { chainIds, digestOf } from "./digest.ts";
import { checkIsImage, type Index, parseManifest } from "./manifest.ts";
import { chooseManifest, hostPlatform, platformNames } from "./platform.ts";

const oci = "application/vnd.oci.image";
const docker = "application/vnd.docker";
const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));

const manifest = {
  schemaVersion: 2,
  mediaType: `${oci}.manifest.v1+json`,
  config: { mediaType: `${oci}.config.v1+json`, digest: digest("a"), size: 10 },
  layers: [{ mediaType: `${oci}.layer.v1.tar+gzip`, digest: digest("b"), size: 20, annotations: { x: "y" } }],
};
const entry = (letter: string, architecture: string, variant?: string, os = "linux") => ({
  mediaType: `${oci}.manifest.v1+json`,
  digest: digest(letter),
  size: 1,
  platform: { os, architecture, ...(variant !== undefined && { variant }) },
});
const index = {
  schemaVersion: 2,
  mediaType: `${oci}.index.v1+json`,
  manifests: [entry("a", "amd64"), entry("b", "arm64", "v8")],
};
const config = {
  os: "linux",
  architecture: "amd64",
  created: "2024-01-01T00:00:00Z",
  config: {
    User: "1000:100",
    Env: ["A=b"],
    Entrypoint: null,
    Cmd: ["sh"],
    WorkingDir: "/w",
    StopSignal: "SIGQUIT",
    Labels: { l: "v", ["__proto__"]: "p" },
    Volumes: { "/data": {} },
    ExposedPorts: { "80/tcp": {} },
  },
  rootfs: { type: "layers", diff_ids: [digest("c")] },
};

function refuses(what: () => unknown, why: RegExp, code: Code = Code.InvalidArgument): void {
  assert.throws(what, (error) => error instanceof StatusError && error.code === code && why.test(error.message));
}

test("parses an OCI manifest and Docker's schema 2", () => {
  const parsed = parseManifest(bytes(manifest), "");
  assert.deepEqual(parsed, {
    is: "manifest",
    mediaType: manifest.mediaType,
    config: { mediaType: `${oci}.config.v1+json`, digest: digest("a"), sizeBytes: 10 },
    layers: [{ mediaType: `${oci}.layer.v1.tar+gzip`, digest: digest("b"), sizeBytes: 20 }],
  });
  const old = parseManifest(bytes({ ...manifest, mediaType: `${docker}.distribution.manifest.v2+json` }), "");
  assert.equal(old.is, "manifest");
});

test("recognises an index without a media type by its content", () => {
  assert.equal(parseManifest(bytes({ ...index, mediaType: undefined }), "").is, "index");
});

test("refuses documents that do not belong to an image, and says what they are", () => {
  refuses(() => parseManifest(bytes({ schemaVersion: 1, fsLayers: [] }), ""), /schema 1/, Code.Unimplemented);
  refuses(
    () => parseManifest(bytes({}), `${docker}.distribution.manifest.v1+prettyjws`),
    /schema 1/,
    Code.Unimplemented,
  );
  refuses(() => parseManifest(bytes({ ...manifest, manifests: [] }), ""), /both/);
  refuses(() => parseManifest(bytes({ ...index, mediaType: manifest.mediaType }), ""), /does not fit/);
  refuses(
    () => parseManifest(bytes({ ...manifest, layers: [{ ...manifest.layers[0], size: -1 }] }), ""),
    /layers\[0\]\.size/,
  );
  refuses(
    () => parseManifest(bytes({ ...manifest, layers: [{ ...manifest.layers[0], digest: "sha256:../../x" }] }), ""),
    /layers\[0\]\.digest/,
  );
  refuses(
    () => parseManifest(bytes({ ...manifest, layers: Array.from({ length: 1001 }, () => manifest.layers[0]) }), ""),
    /limit/,
  );
  refuses(() => parseManifest(Buffer.alloc(5 * 1024 * 1024, 0x20), ""), /limit/);
  refuses(() => parseManifest(bytes([]), ""), /object/);
  refuses(() => parseManifest(Buffer.from("<html>"), ""), /not JSON/);
  const chart = parseManifest(
    bytes({
      ...manifest,
      layers: [{ ...manifest.layers[0], mediaType: "application/vnd.cncf.helm.chart.content.v1.tar+gzip" }],
    }),
    "",
  );
  refuses(() => chart.is === "manifest" && checkIsImage(chart), /not a container image/);
  const secret = parseManifest(
    bytes({ ...manifest, layers: [{ ...manifest.layers[0], mediaType: `${oci}.layer.v1.tar+gzip+encrypted` }] }),
    "",
  );
  refuses(() => secret.is === "manifest" && checkIsImage(secret), /encrypted/, Code.Unimplemented);
});

test("chooses the manifest with the highest variant that the host supports, and never an attestation", () => {
  const choose = (manifests: object[], arch: NodeJS.Architecture, variant?: string) =>
    chooseManifest(parseManifest(bytes({ ...index, manifests }), "") as Index, hostPlatform(arch, variant))?.digest;
  assert.equal(choose(index.manifests, "x64"), digest("a"));
  assert.equal(choose(index.manifests, "arm64"), digest("b"));
  assert.equal(choose([entry("a", "arm64")], "arm64"), digest("a"));
  assert.equal(choose([entry("f", "unknown", undefined, "unknown"), entry("c", "amd64")], "x64"), digest("c"));
  assert.equal(
    choose([entry("a", "amd64"), entry("b", "amd64", "v2"), entry("c", "amd64", "v3")], "x64", "v2"),
    digest("b"),
  );
  assert.equal(choose([entry("a", "amd64", "v3")], "x64"), undefined);
  assert.equal(choose([entry("a", "arm", "v6"), entry("b", "arm", "v7")], "arm"), digest("b"));
  assert.equal(choose([entry("a", "amd64", undefined, "windows")], "x64"), undefined);
  assert.equal(choose([{ ...entry("a", "x"), platform: undefined }], "x64"), digest("a"));
  assert.equal(platformNames(parseManifest(bytes(index), "") as Index), "linux/amd64, linux/arm64/v8");
});

test("parses an image config; null counts as absent", () => {
  const parsed = parseImageConfig(bytes(config));
  assert.deepEqual(parsed.entrypoint, []);
  assert.deepEqual({ ...parsed.labels }, { l: "v", ["__proto__"]: "p" });
  assert.deepEqual(
    [parsed.user, parsed.cmd, parsed.workingDir, parsed.stopSignal, parsed.volumes, parsed.exposedPorts],
    ["1000:100", ["sh"], "/w", "SIGQUIT", ["/data"], ["80/tcp"]],
  );
  assert.deepEqual(parsed.diffIds, [digest("c")]);
  refuses(() => parseImageConfig(bytes({})), /rootfs\.type/);
  refuses(() => parseImageConfig(bytes({ ...config, config: { Env: "A=b" } })), /config\.Env must be a list/);
});

test("chain ids are computed as in the specification", () => {
  const [a, b, c] = [digest("a"), digest("b"), digest("c")] as const;
  assert.deepEqual(chainIds([a, b, c]), [a, digestOf(`${a} ${b}`), digestOf(`${digestOf(`${a} ${b}`)} ${c}`)]);
  assert.deepEqual(chainIds([]), []);
});

test("damage at any place results in a StatusError or a document", () => {
  let seed = 12345;
  const next = (below: number) => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % below;
  for (const [document, read] of [
    [bytes(manifest), (b: Buffer) => parseManifest(b, "")],
    [bytes(index), (b: Buffer) => parseManifest(b, "")],
    [bytes(config), parseImageConfig],
  ] as const) {
    const attempt = (damaged: Buffer) => {
      try {
        read(damaged);
      } catch (error) {
        assert.ok(error instanceof StatusError, String(error));
      }
    };
    for (let length = 0; length < document.length; length += 1) attempt(document.subarray(0, length));
    for (let round = 0; round < 2000; round += 1) {
      const damaged = Buffer.from(document);
      const at = next(damaged.length);
      damaged[at] = (damaged[at] as number) ^ (1 << next(8));
      attempt(damaged);
    }
  }
});
