import type { PodPlan } from "@keelson/plan/pod-plan.ts";
import * as v from "valibot";
import { cgroupPathSchema, idSchema } from "./parse-record.ts";

const strings = v.record(v.string(), v.string());
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const port = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535));
const id = v.pipe(count, v.maxValue(0xffff_ffff));
const ownOrHost = v.picklist(["own", "host"]);

const idMappings = v.pipe(
  v.array(v.looseObject({ containerId: id, hostId: id, length: id })),
  v.minLength(1, "a user namespace has at least one mapping"),
);

/**
 * A pod's plan as it is kept. Every field that this build uses is checked, as teardown goes by them; one that an older
 * build did not write has the value that it stood for then. What a newer build has written beside is kept as it is.
 */
export const podPlanSchema = v.looseObject({
  id: idSchema,
  metadata: v.looseObject({ name: v.string(), uid: v.string(), namespace: v.string(), attempt: count }),
  nameKey: v.string(),
  runtimeHandler: v.string(),
  labels: strings,
  annotations: strings,
  logDirectory: v.string(),
  hostname: v.string(),
  userNamespace: v.exactOptional(v.looseObject({ uids: idMappings, gids: idMappings })),
  network: ownOrHost,
  ipc: ownOrHost,
  uts: ownOrHost,
  pid: v.picklist(["pod", "container", "host"]),
  sysctls: v.array(
    v.looseObject({ name: v.string(), file: v.string(), value: v.string(), namespace: v.picklist(["network", "ipc"]) }),
  ),
  resolvConf: v.exactOptional(v.string()),
  portMappings: v.array(
    v.looseObject({
      protocol: v.picklist(["tcp", "udp", "sctp"]),
      containerPort: port,
      hostPort: port,
      hostIP: v.string(),
    }),
  ),
  cgroup: v.looseObject({
    driver: v.picklist(["cgroupfs", "systemd"]),
    path: cgroupPathSchema,
    slice: v.exactOptional(v.string()),
    own: v.boolean(),
  }),
  // Plans from before there was a choice have none.
  sandbox: v.exactOptional(v.picklist(["none", "container"]), "none"),
  shmSizeBytes: count,
  privileged: v.boolean(),
  seLinux: v.exactOptional(v.looseObject({ user: v.string(), role: v.string(), type: v.string(), level: v.string() })),
}) satisfies v.GenericSchema<unknown, PodPlan>;
