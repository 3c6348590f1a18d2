// Made by scripts/generate.ts from proto/; do not edit.
import type { EnumDescriptor, FieldDescriptor } from "../descriptor.ts";

export const enums: Readonly<Record<string, EnumDescriptor>> = {
  Protocol: {"TCP":0,"UDP":1,"SCTP":2},
  MountPropagation: {"PROPAGATION_PRIVATE":0,"PROPAGATION_HOST_TO_CONTAINER":1,"PROPAGATION_BIDIRECTIONAL":2},
  NamespaceMode: {"POD":0,"CONTAINER":1,"NODE":2,"TARGET":3},
  SupplementalGroupsPolicy: {"Merge":0,"Strict":1},
  PodSandboxState: {"SANDBOX_READY":0,"SANDBOX_NOTREADY":1},
  Signal: {"RUNTIME_DEFAULT":0,"SIGABRT":1,"SIGALRM":2,"SIGBUS":3,"SIGCHLD":4,"SIGCLD":5,"SIGCONT":6,"SIGFPE":7,"SIGHUP":8,"SIGILL":9,"SIGINT":10,"SIGIO":11,"SIGIOT":12,"SIGKILL":13,"SIGPIPE":14,"SIGPOLL":15,"SIGPROF":16,"SIGPWR":17,"SIGQUIT":18,"SIGSEGV":19,"SIGSTKFLT":20,"SIGSTOP":21,"SIGSYS":22,"SIGTERM":23,"SIGTRAP":24,"SIGTSTP":25,"SIGTTIN":26,"SIGTTOU":27,"SIGURG":28,"SIGUSR1":29,"SIGUSR2":30,"SIGVTALRM":31,"SIGWINCH":32,"SIGXCPU":33,"SIGXFSZ":34,"SIGRTMIN":35,"SIGRTMINPLUS1":36,"SIGRTMINPLUS2":37,"SIGRTMINPLUS3":38,"SIGRTMINPLUS4":39,"SIGRTMINPLUS5":40,"SIGRTMINPLUS6":41,"SIGRTMINPLUS7":42,"SIGRTMINPLUS8":43,"SIGRTMINPLUS9":44,"SIGRTMINPLUS10":45,"SIGRTMINPLUS11":46,"SIGRTMINPLUS12":47,"SIGRTMINPLUS13":48,"SIGRTMINPLUS14":49,"SIGRTMINPLUS15":50,"SIGRTMAXMINUS14":51,"SIGRTMAXMINUS13":52,"SIGRTMAXMINUS12":53,"SIGRTMAXMINUS11":54,"SIGRTMAXMINUS10":55,"SIGRTMAXMINUS9":56,"SIGRTMAXMINUS8":57,"SIGRTMAXMINUS7":58,"SIGRTMAXMINUS6":59,"SIGRTMAXMINUS5":60,"SIGRTMAXMINUS4":61,"SIGRTMAXMINUS3":62,"SIGRTMAXMINUS2":63,"SIGRTMAXMINUS1":64,"SIGRTMAX":65},
  ContainerState: {"CONTAINER_CREATED":0,"CONTAINER_RUNNING":1,"CONTAINER_EXITED":2,"CONTAINER_UNKNOWN":3},
  ContainerEventType: {"CONTAINER_CREATED_EVENT":0,"CONTAINER_STARTED_EVENT":1,"CONTAINER_STOPPED_EVENT":2,"CONTAINER_DELETED_EVENT":3},
  MetricType: {"COUNTER":0,"GAUGE":1},
  CgroupDriver: {"SYSTEMD":0,"CGROUPFS":1},
  "SecurityProfile.ProfileType": {"RuntimeDefault":0,"Unconfined":1,"Localhost":2},
};

export const messages: Readonly<Record<string, readonly FieldDescriptor[]>> = {
  VersionRequest: [
    {"name":"version","key":"version","number":1,"kind":"string"},
  ],
  VersionResponse: [
    {"name":"version","key":"version","number":1,"kind":"string"},
    {"name":"runtime_name","key":"runtimeName","number":2,"kind":"string"},
    {"name":"runtime_version","key":"runtimeVersion","number":3,"kind":"string"},
    {"name":"runtime_api_version","key":"runtimeApiVersion","number":4,"kind":"string"},
  ],
  DNSConfig: [
    {"name":"servers","key":"servers","number":1,"kind":"string","repeated":true},
    {"name":"searches","key":"searches","number":2,"kind":"string","repeated":true},
    {"name":"options","key":"options","number":3,"kind":"string","repeated":true},
  ],
  PortMapping: [
    {"name":"protocol","key":"protocol","number":1,"kind":"enum","of":"Protocol"},
    {"name":"container_port","key":"containerPort","number":2,"kind":"int32"},
    {"name":"host_port","key":"hostPort","number":3,"kind":"int32"},
    {"name":"host_ip","key":"hostIp","number":4,"kind":"string"},
  ],
  Mount: [
    {"name":"container_path","key":"containerPath","number":1,"kind":"string"},
    {"name":"host_path","key":"hostPath","number":2,"kind":"string"},
    {"name":"readonly","key":"readonly","number":3,"kind":"bool"},
    {"name":"selinux_relabel","key":"selinuxRelabel","number":4,"kind":"bool"},
    {"name":"propagation","key":"propagation","number":5,"kind":"enum","of":"MountPropagation"},
    {"name":"uidMappings","key":"uidMappings","number":6,"kind":"message","of":"IDMapping","repeated":true},
    {"name":"gidMappings","key":"gidMappings","number":7,"kind":"message","of":"IDMapping","repeated":true},
    {"name":"recursive_read_only","key":"recursiveReadOnly","number":8,"kind":"bool"},
    {"name":"image","key":"image","number":9,"kind":"message","of":"ImageSpec"},
    {"name":"image_sub_path","key":"imageSubPath","number":10,"kind":"string"},
  ],
  IDMapping: [
    {"name":"host_id","key":"hostId","number":1,"kind":"uint32"},
    {"name":"container_id","key":"containerId","number":2,"kind":"uint32"},
    {"name":"length","key":"length","number":3,"kind":"uint32"},
  ],
  UserNamespace: [
    {"name":"mode","key":"mode","number":1,"kind":"enum","of":"NamespaceMode"},
    {"name":"uids","key":"uids","number":2,"kind":"message","of":"IDMapping","repeated":true},
    {"name":"gids","key":"gids","number":3,"kind":"message","of":"IDMapping","repeated":true},
  ],
  NamespaceOption: [
    {"name":"network","key":"network","number":1,"kind":"enum","of":"NamespaceMode"},
    {"name":"pid","key":"pid","number":2,"kind":"enum","of":"NamespaceMode"},
    {"name":"ipc","key":"ipc","number":3,"kind":"enum","of":"NamespaceMode"},
    {"name":"target_id","key":"targetId","number":4,"kind":"string"},
    {"name":"userns_options","key":"usernsOptions","number":5,"kind":"message","of":"UserNamespace"},
  ],
  Int64Value: [
    {"name":"value","key":"value","number":1,"kind":"int64"},
  ],
  LinuxSandboxSecurityContext: [
    {"name":"namespace_options","key":"namespaceOptions","number":1,"kind":"message","of":"NamespaceOption"},
    {"name":"selinux_options","key":"selinuxOptions","number":2,"kind":"message","of":"SELinuxOption"},
    {"name":"run_as_user","key":"runAsUser","number":3,"kind":"message","of":"Int64Value"},
    {"name":"run_as_group","key":"runAsGroup","number":8,"kind":"message","of":"Int64Value"},
    {"name":"readonly_rootfs","key":"readonlyRootfs","number":4,"kind":"bool"},
    {"name":"supplemental_groups","key":"supplementalGroups","number":5,"kind":"int64","repeated":true},
    {"name":"supplemental_groups_policy","key":"supplementalGroupsPolicy","number":11,"kind":"enum","of":"SupplementalGroupsPolicy"},
    {"name":"privileged","key":"privileged","number":6,"kind":"bool"},
    {"name":"seccomp","key":"seccomp","number":9,"kind":"message","of":"SecurityProfile"},
    {"name":"apparmor","key":"apparmor","number":10,"kind":"message","of":"SecurityProfile"},
    {"name":"seccomp_profile_path","key":"seccompProfilePath","number":7,"kind":"string","deprecated":true},
  ],
  SecurityProfile: [
    {"name":"profile_type","key":"profileType","number":1,"kind":"enum","of":"SecurityProfile.ProfileType"},
    {"name":"localhost_ref","key":"localhostRef","number":2,"kind":"string"},
  ],
  LinuxPodSandboxConfig: [
    {"name":"cgroup_parent","key":"cgroupParent","number":1,"kind":"string"},
    {"name":"security_context","key":"securityContext","number":2,"kind":"message","of":"LinuxSandboxSecurityContext"},
    {"name":"sysctls","key":"sysctls","number":3,"kind":"map"},
    {"name":"overhead","key":"overhead","number":4,"kind":"message","of":"LinuxContainerResources"},
    {"name":"resources","key":"resources","number":5,"kind":"message","of":"LinuxContainerResources"},
  ],
  PodSandboxMetadata: [
    {"name":"name","key":"name","number":1,"kind":"string"},
    {"name":"uid","key":"uid","number":2,"kind":"string"},
    {"name":"namespace","key":"namespace","number":3,"kind":"string"},
    {"name":"attempt","key":"attempt","number":4,"kind":"uint32"},
  ],
  PodSandboxConfig: [
    {"name":"metadata","key":"metadata","number":1,"kind":"message","of":"PodSandboxMetadata"},
    {"name":"hostname","key":"hostname","number":2,"kind":"string"},
    {"name":"log_directory","key":"logDirectory","number":3,"kind":"string"},
    {"name":"dns_config","key":"dnsConfig","number":4,"kind":"message","of":"DNSConfig"},
    {"name":"port_mappings","key":"portMappings","number":5,"kind":"message","of":"PortMapping","repeated":true},
    {"name":"labels","key":"labels","number":6,"kind":"map"},
    {"name":"annotations","key":"annotations","number":7,"kind":"map"},
    {"name":"linux","key":"linux","number":8,"kind":"message","of":"LinuxPodSandboxConfig"},
    {"name":"windows","key":"windows","number":9,"kind":"message","of":"WindowsPodSandboxConfig"},
  ],
  RunPodSandboxRequest: [
    {"name":"config","key":"config","number":1,"kind":"message","of":"PodSandboxConfig"},
    {"name":"runtime_handler","key":"runtimeHandler","number":2,"kind":"string"},
  ],
  RunPodSandboxResponse: [
    {"name":"pod_sandbox_id","key":"podSandboxId","number":1,"kind":"string"},
  ],
  StopPodSandboxRequest: [
    {"name":"pod_sandbox_id","key":"podSandboxId","number":1,"kind":"string"},
  ],
  StopPodSandboxResponse: [
  ],
  RemovePodSandboxRequest: [
    {"name":"pod_sandbox_id","key":"podSandboxId","number":1,"kind":"string"},
  ],
  RemovePodSandboxResponse: [
  ],
  PodSandboxStatusRequest: [
    {"name":"pod_sandbox_id","key":"podSandboxId","number":1,"kind":"string"},
    {"name":"verbose","key":"verbose","number":2,"kind":"bool"},
  ],
  PodIP: [
    {"name":"ip","key":"ip","number":1,"kind":"string"},
  ],
  PodSandboxNetworkStatus: [
    {"name":"ip","key":"ip","number":1,"kind":"string"},
    {"name":"additional_ips","key":"additionalIps","number":2,"kind":"message","of":"PodIP","repeated":true},
  ],
  Namespace: [
    {"name":"options","key":"options","number":2,"kind":"message","of":"NamespaceOption"},
  ],
  LinuxPodSandboxStatus: [
    {"name":"namespaces","key":"namespaces","number":1,"kind":"message","of":"Namespace"},
  ],
  PodSandboxStatus: [
    {"name":"id","key":"id","number":1,"kind":"string"},
    {"name":"metadata","key":"metadata","number":2,"kind":"message","of":"PodSandboxMetadata"},
    {"name":"state","key":"state","number":3,"kind":"enum","of":"PodSandboxState"},
    {"name":"created_at","key":"createdAt","number":4,"kind":"int64"},
    {"name":"network","key":"network","number":5,"kind":"message","of":"PodSandboxNetworkStatus"},
    {"name":"linux","key":"linux","number":6,"kind":"message","of":"LinuxPodSandboxStatus"},
    {"name":"labels","key":"labels","number":7,"kind":"map"},
    {"name":"annotations","key":"annotations","number":8,"kind":"map"},
    {"name":"runtime_handler","key":"runtimeHandler","number":9,"kind":"string"},
  ],
  PodSandboxStatusResponse: [
    {"name":"status","key":"status","number":1,"kind":"message","of":"PodSandboxStatus"},
    {"name":"info","key":"info","number":2,"kind":"map"},
    {"name":"containers_statuses","key":"containersStatuses","number":3,"kind":"message","of":"ContainerStatus","repeated":true},
    {"name":"timestamp","key":"timestamp","number":4,"kind":"int64"},
  ],
  PodSandboxStateValue: [
    {"name":"state","key":"state","number":1,"kind":"enum","of":"PodSandboxState"},
  ],
  PodSandboxFilter: [
    {"name":"id","key":"id","number":1,"kind":"string"},
    {"name":"state","key":"state","number":2,"kind":"message","of":"PodSandboxStateValue"},
    {"name":"label_selector","key":"labelSelector","number":3,"kind":"map"},
  ],
  ListPodSandboxRequest: [
    {"name":"filter","key":"filter","number":1,"kind":"message","of":"PodSandboxFilter"},
  ],
  PodSandbox: [
    {"name":"id","key":"id","number":1,"kind":"string"},
    {"name":"metadata","key":"metadata","number":2,"kind":"message","of":"PodSandboxMetadata"},
    {"name":"state","key":"state","number":3,"kind":"enum","of":"PodSandboxState"},
    {"name":"created_at","key":"createdAt","number":4,"kind":"int64"},
    {"name":"labels","key":"labels","number":5,"kind":"map"},
    {"name":"annotations","key":"annotations","number":6,"kind":"map"},
    {"name":"runtime_handler","key":"runtimeHandler","number":7,"kind":"string"},
  ],
  ListPodSandboxResponse: [
    {"name":"items","key":"items","number":1,"kind":"message","of":"PodSandbox","repeated":true},
  ],
  StreamPodSandboxesRequest: [
    {"name":"filter","key":"filter","number":1,"kind":"message","of":"PodSandboxFilter"},
  ],
  StreamPodSandboxesResponse: [
    {"name":"pod_sandboxes","key":"podSandboxes","number":1,"kind":"message","of":"PodSandbox","repeated":true},
  ],
  PodSandboxStatsRequest: [
    {"name":"pod_sandbox_id","key":"podSandboxId","number":1,"kind":"string"},
  ],
  PodSandboxStatsResponse: [
    {"name":"stats","key":"stats","number":1,"kind":"message","of":"PodSandboxStats"},
  ],
  PodSandboxStatsFilter: [
    {"name":"id","key":"id","number":1,"kind":"string"},
    {"name":"label_selector","key":"labelSelector","number":2,"kind":"map"},
  ],
  ListPodSandboxStatsRequest: [
    {"name":"filter","key":"filter","number":1,"kind":"message","of":"PodSandboxStatsFilter"},
  ],
  ListPodSandboxStatsResponse: [
    {"name":"stats","key":"stats","number":1,"kind":"message","of":"PodSandboxStats","repeated":true},
  ],
  StreamPodSandboxStatsRequest: [
    {"name":"filter","key":"filter","number":1,"kind":"message","of":"PodSandboxStatsFilter"},
  ],
  StreamPodSandboxStatsResponse: [
    {"name":"pod_sandbox_stats","key":"podSandboxStats","number":1,"kind":"message","of":"PodSandboxStats","repeated":true},
  ],
  PodSandboxAttributes: [
    {"name":"id","key":"id","number":1,"kind":"string"},
    {"name":"metadata","key":"metadata","number":2,"kind":"message","of":"PodSandboxMetadata"},
    {"name":"labels","key":"labels","number":3,"kind":"map"},
    {"name":"annotations","key":"annotations","number":4,"kind":"map"},
  ],
  PodSandboxStats: [
    {"name":"attributes","key":"attributes","number":1,"kind":"message","of":"PodSandboxAttributes"},
    {"name":"linux","key":"linux","number":2,"kind":"message","of":"LinuxPodSandboxStats"},
    {"name":"windows","key":"windows","number":3,"kind":"message","of":"WindowsPodSandboxStats"},
  ],
  LinuxPodSandboxStats: [
    {"name":"cpu","key":"cpu","number":1,"kind":"message","of":"CpuUsage"},
    {"name":"memory","key":"memory","number":2,"kind":"message","of":"MemoryUsage"},
    {"name":"network","key":"network","number":3,"kind":"message","of":"NetworkUsage"},
    {"name":"process","key":"process","number":4,"kind":"message","of":"ProcessUsage"},
    {"name":"containers","key":"containers","number":5,"kind":"message","of":"ContainerStats","repeated":true},
    {"name":"io","key":"io","number":6,"kind":"message","of":"IoUsage"},
  ],
  WindowsPodSandboxStats: [
    {"name":"cpu","key":"cpu","number":1,"kind":"message","of":"WindowsCpuUsage"},
    {"name":"memory","key":"memory","number":2,"kind":"message","of":"WindowsMemoryUsage"},
    {"name":"network","key":"network","number":3,"kind":"message","of":"WindowsNetworkUsage"},
    {"name":"process","key":"process","number":4,"kind":"message","of":"WindowsProcessUsage"},
    {"name":"containers","key":"containers","number":5,"kind":"message","of":"WindowsContainerStats","repeated":true},
  ],
  NetworkUsage: [
    {"name":"timestamp","key":"timestamp","number":1,"kind":"int64"},
    {"name":"default_interface","key":"defaultInterface","number":2,"kind":"message","of":"NetworkInterfaceUsage"},
    {"name":"interfaces","key":"interfaces","number":3,"kind":"message","of":"NetworkInterfaceUsage","repeated":true},
  ],
  WindowsNetworkUsage: [
    {"name":"timestamp","key":"timestamp","number":1,"kind":"int64"},
    {"name":"default_interface","key":"defaultInterface","number":2,"kind":"message","of":"WindowsNetworkInterfaceUsage"},
    {"name":"interfaces","key":"interfaces","number":3,"kind":"message","of":"WindowsNetworkInterfaceUsage","repeated":true},
  ],
  NetworkInterfaceUsage: [
    {"name":"name","key":"name","number":1,"kind":"string"},
    {"name":"rx_bytes","key":"rxBytes","number":2,"kind":"message","of":"UInt64Value"},
    {"name":"rx_errors","key":"rxErrors","number":3,"kind":"message","of":"UInt64Value"},
    {"name":"tx_bytes","key":"txBytes","number":4,"kind":"message","of":"UInt64Value"},
    {"name":"tx_errors","key":"txErrors","number":5,"kind":"message","of":"UInt64Value"},
  ],
  WindowsNetworkInterfaceUsage: [
    {"name":"name","key":"name","number":1,"kind":"string"},
    {"name":"rx_bytes","key":"rxBytes","number":2,"kind":"message","of":"UInt64Value"},
    {"name":"rx_packets_dropped","key":"rxPacketsDropped","number":3,"kind":"message","of":"UInt64Value"},
    {"name":"tx_bytes","key":"txBytes","number":4,"kind":"message","of":"UInt64Value"},
    {"name":"tx_packets_dropped","key":"txPacketsDropped","number":5,"kind":"message","of":"UInt64Value"},
  ],
  ProcessUsage: [
    {"name":"timestamp","key":"timestamp","number":1,"kind":"int64"},
    {"name":"process_count","key":"processCount","number":2,"kind":"message","of":"UInt64Value"},
  ],
  WindowsProcessUsage: [
    {"name":"timestamp","key":"timestamp","number":1,"kind":"int64"},
    {"name":"process_count","key":"processCount","number":2,"kind":"message","of":"UInt64Value"},
  ],
  ImageSpec: [
    {"name":"image","key":"image","number":1,"kind":"string"},
    {"name":"annotations","key":"annotations","number":2,"kind":"map"},
    {"name":"user_specified_image","key":"userSpecifiedImage","number":18,"kind":"string"},
    {"name":"runtime_handler","key":"runtimeHandler","number":19,"kind":"string"},
    {"name":"image_ref","key":"imageRef","number":20,"kind":"string"},
  ],
  KeyValue: [
    {"name":"key","key":"key","number":1,"kind":"string"},
    {"name":"value","key":"value","number":2,"kind":"bytes"},
  ],
  LinuxContainerResources: [
    {"name":"cpu_period","key":"cpuPeriod","number":1,"kind":"int64"},
    {"name":"cpu_quota","key":"cpuQuota","number":2,"kind":"int64"},
    {"name":"cpu_shares","key":"cpuShares","number":3,"kind":"int64"},
    {"name":"memory_limit_in_bytes","key":"memoryLimitInBytes","number":4,"kind":"int64"},
    {"name":"oom_score_adj","key":"oomScoreAdj","number":5,"kind":"int64"},
    {"name":"cpuset_cpus","key":"cpusetCpus","number":6,"kind":"string"},
    {"name":"cpuset_mems","key":"cpusetMems","number":7,"kind":"string"},
    {"name":"hugepage_limits","key":"hugepageLimits","number":8,"kind":"message","of":"HugepageLimit","repeated":true},
    {"name":"unified","key":"unified","number":9,"kind":"map"},
    {"name":"memory_swap_limit_in_bytes","key":"memorySwapLimitInBytes","number":10,"kind":"int64"},
  ],
  HugepageLimit: [
    {"name":"page_size","key":"pageSize","number":1,"kind":"string"},
    {"name":"limit","key":"limit","number":2,"kind":"uint64"},
  ],
  SELinuxOption: [
    {"name":"user","key":"user","number":1,"kind":"string"},
    {"name":"role","key":"role","number":2,"kind":"string"},
    {"name":"type","key":"type","number":3,"kind":"string"},
    {"name":"level","key":"level","number":4,"kind":"string"},
  ],
  Capability: [
    {"name":"add_capabilities","key":"addCapabilities","number":1,"kind":"string","repeated":true},
    {"name":"drop_capabilities","key":"dropCapabilities","number":2,"kind":"string","repeated":true},
    {"name":"add_ambient_capabilities","key":"addAmbientCapabilities","number":3,"kind":"string","repeated":true},
  ],
  LinuxContainerSecurityContext: [
    {"name":"capabilities","key":"capabilities","number":1,"kind":"message","of":"Capability"},
    {"name":"privileged","key":"privileged","number":2,"kind":"bool"},
    {"name":"namespace_options","key":"namespaceOptions","number":3,"kind":"message","of":"NamespaceOption"},
    {"name":"selinux_options","key":"selinuxOptions","number":4,"kind":"message","of":"SELinuxOption"},
    {"name":"run_as_user","key":"runAsUser","number":5,"kind":"message","of":"Int64Value"},
    {"name":"run_as_group","key":"runAsGroup","number":12,"kind":"message","of":"Int64Value"},
    {"name":"run_as_username","key":"runAsUsername","number":6,"kind":"string"},
    {"name":"readonly_rootfs","key":"readonlyRootfs","number":7,"kind":"bool"},
    {"name":"supplemental_groups","key":"supplementalGroups","number":8,"kind":"int64","repeated":true},
    {"name":"supplemental_groups_policy","key":"supplementalGroupsPolicy","number":17,"kind":"enum","of":"SupplementalGroupsPolicy"},
    {"name":"no_new_privs","key":"noNewPrivs","number":11,"kind":"bool"},
    {"name":"masked_paths","key":"maskedPaths","number":13,"kind":"string","repeated":true},
    {"name":"readonly_paths","key":"readonlyPaths","number":14,"kind":"string","repeated":true},
    {"name":"seccomp","key":"seccomp","number":15,"kind":"message","of":"SecurityProfile"},
    {"name":"apparmor","key":"apparmor","number":16,"kind":"message","of":"SecurityProfile"},
    {"name":"apparmor_profile","key":"apparmorProfile","number":9,"kind":"string","deprecated":true},
    {"name":"seccomp_profile_path","key":"seccompProfilePath","number":10,"kind":"string","deprecated":true},
  ],
  LinuxContainerConfig: [
    {"name":"resources","key":"resources","number":1,"kind":"message","of":"LinuxContainerResources"},
    {"name":"security_context","key":"securityContext","number":2,"kind":"message","of":"LinuxContainerSecurityContext"},
  ],
  LinuxContainerUser: [
    {"name":"uid","key":"uid","number":1,"kind":"int64"},
    {"name":"gid","key":"gid","number":2,"kind":"int64"},
    {"name":"supplemental_groups","key":"supplementalGroups","number":3,"kind":"int64","repeated":true},
  ],
  WindowsNamespaceOption: [
    {"name":"network","key":"network","number":1,"kind":"enum","of":"NamespaceMode"},
  ],
  WindowsSandboxSecurityContext: [
    {"name":"run_as_username","key":"runAsUsername","number":1,"kind":"string"},
    {"name":"credential_spec","key":"credentialSpec","number":2,"kind":"string"},
    {"name":"host_process","key":"hostProcess","number":3,"kind":"bool"},
    {"name":"namespace_options","key":"namespaceOptions","number":4,"kind":"message","of":"WindowsNamespaceOption"},
  ],
  WindowsPodSandboxConfig: [
    {"name":"security_context","key":"securityContext","number":1,"kind":"message","of":"WindowsSandboxSecurityContext"},
  ],
  WindowsContainerSecurityContext: [
    {"name":"run_as_username","key":"runAsUsername","number":1,"kind":"string"},
    {"name":"credential_spec","key":"credentialSpec","number":2,"kind":"string"},
    {"name":"host_process","key":"hostProcess","number":3,"kind":"bool"},
  ],
  WindowsContainerConfig: [
    {"name":"resources","key":"resources","number":1,"kind":"message","of":"WindowsContainerResources"},
    {"name":"security_context","key":"securityContext","number":2,"kind":"message","of":"WindowsContainerSecurityContext"},
  ],
  WindowsContainerResources: [
    {"name":"cpu_shares","key":"cpuShares","number":1,"kind":"int64"},
    {"name":"cpu_count","key":"cpuCount","number":2,"kind":"int64"},
    {"name":"cpu_maximum","key":"cpuMaximum","number":3,"kind":"int64"},
    {"name":"memory_limit_in_bytes","key":"memoryLimitInBytes","number":4,"kind":"int64"},
    {"name":"rootfs_size_in_bytes","key":"rootfsSizeInBytes","number":5,"kind":"int64"},
    {"name":"affinity_cpus","key":"affinityCpus","number":6,"kind":"message","of":"WindowsCpuGroupAffinity","repeated":true},
  ],
  WindowsCpuGroupAffinity: [
    {"name":"cpu_mask","key":"cpuMask","number":1,"kind":"uint64"},
    {"name":"cpu_group","key":"cpuGroup","number":2,"kind":"uint32"},
  ],
  ContainerMetadata: [
    {"name":"name","key":"name","number":1,"kind":"string"},
    {"name":"attempt","key":"attempt","number":2,"kind":"uint32"},
  ],
  Device: [
    {"name":"container_path","key":"containerPath","number":1,"kind":"string"},
    {"name":"host_path","key":"hostPath","number":2,"kind":"string"},
    {"name":"permissions","key":"permissions","number":3,"kind":"string"},
  ],
  CDIDevice: [
    {"name":"name","key":"name","number":1,"kind":"string"},
  ],
  ContainerConfig: [
    {"name":"metadata","key":"metadata","number":1,"kind":"message","of":"ContainerMetadata"},
    {"name":"image","key":"image","number":2,"kind":"message","of":"ImageSpec"},
    {"name":"command","key":"command","number":3,"kind":"string","repeated":true},
    {"name":"args","key":"args","number":4,"kind":"string","repeated":true},
    {"name":"working_dir","key":"workingDir","number":5,"kind":"string"},
    {"name":"envs","key":"envs","number":6,"kind":"message","of":"KeyValue","repeated":true},
    {"name":"mounts","key":"mounts","number":7,"kind":"message","of":"Mount","repeated":true},
    {"name":"devices","key":"devices","number":8,"kind":"message","of":"Device","repeated":true},
    {"name":"labels","key":"labels","number":9,"kind":"map"},
    {"name":"annotations","key":"annotations","number":10,"kind":"map"},
    {"name":"log_path","key":"logPath","number":11,"kind":"string"},
    {"name":"stdin","key":"stdin","number":12,"kind":"bool"},
    {"name":"stdin_once","key":"stdinOnce","number":13,"kind":"bool"},
    {"name":"tty","key":"tty","number":14,"kind":"bool"},
    {"name":"linux","key":"linux","number":15,"kind":"message","of":"LinuxContainerConfig"},
    {"name":"windows","key":"windows","number":16,"kind":"message","of":"WindowsContainerConfig"},
    {"name":"CDI_devices","key":"CDIDevices","number":17,"kind":"message","of":"CDIDevice","repeated":true},
    {"name":"stop_signal","key":"stopSignal","number":18,"kind":"enum","of":"Signal"},
  ],
  CreateContainerRequest: [
    {"name":"pod_sandbox_id","key":"podSandboxId","number":1,"kind":"string"},
    {"name":"config","key":"config","number":2,"kind":"message","of":"ContainerConfig"},
    {"name":"sandbox_config","key":"sandboxConfig","number":3,"kind":"message","of":"PodSandboxConfig"},
  ],
  CreateContainerResponse: [
    {"name":"container_id","key":"containerId","number":1,"kind":"string"},
  ],
  StartContainerRequest: [
    {"name":"container_id","key":"containerId","number":1,"kind":"string"},
  ],
  StartContainerResponse: [
  ],
  StopContainerRequest: [
    {"name":"container_id","key":"containerId","number":1,"kind":"string"},
    {"name":"timeout","key":"timeout","number":2,"kind":"int64"},
  ],
  StopContainerResponse: [
  ],
  RemoveContainerRequest: [
    {"name":"container_id","key":"containerId","number":1,"kind":"string"},
  ],
  RemoveContainerResponse: [
  ],
  ContainerStateValue: [
    {"name":"state","key":"state","number":1,"kind":"enum","of":"ContainerState"},
  ],
  ContainerFilter: [
    {"name":"id","key":"id","number":1,"kind":"string"},
    {"name":"state","key":"state","number":2,"kind":"message","of":"ContainerStateValue"},
    {"name":"pod_sandbox_id","key":"podSandboxId","number":3,"kind":"string"},
    {"name":"label_selector","key":"labelSelector","number":4,"kind":"map"},
  ],
  ListContainersRequest: [
    {"name":"filter","key":"filter","number":1,"kind":"message","of":"ContainerFilter"},
  ],
  Container: [
    {"name":"id","key":"id","number":1,"kind":"string"},
    {"name":"pod_sandbox_id","key":"podSandboxId","number":2,"kind":"string"},
    {"name":"metadata","key":"metadata","number":3,"kind":"message","of":"ContainerMetadata"},
    {"name":"image","key":"image","number":4,"kind":"message","of":"ImageSpec"},
    {"name":"image_ref","key":"imageRef","number":5,"kind":"string"},
    {"name":"state","key":"state","number":6,"kind":"enum","of":"ContainerState"},
    {"name":"created_at","key":"createdAt","number":7,"kind":"int64"},
    {"name":"labels","key":"labels","number":8,"kind":"map"},
    {"name":"annotations","key":"annotations","number":9,"kind":"map"},
    {"name":"image_id","key":"imageId","number":10,"kind":"string"},
  ],
  ListContainersResponse: [
    {"name":"containers","key":"containers","number":1,"kind":"message","of":"Container","repeated":true},
  ],
  StreamContainersRequest: [
    {"name":"filter","key":"filter","number":1,"kind":"message","of":"ContainerFilter"},
  ],
  StreamContainersResponse: [
    {"name":"containers","key":"containers","number":1,"kind":"message","of":"Container","repeated":true},
  ],
  ContainerStatusRequest: [
    {"name":"container_id","key":"containerId","number":1,"kind":"string"},
    {"name":"verbose","key":"verbose","number":2,"kind":"bool"},
  ],
  ContainerStatus: [
    {"name":"id","key":"id","number":1,"kind":"string"},
    {"name":"metadata","key":"metadata","number":2,"kind":"message","of":"ContainerMetadata"},
    {"name":"state","key":"state","number":3,"kind":"enum","of":"ContainerState"},
    {"name":"created_at","key":"createdAt","number":4,"kind":"int64"},
    {"name":"started_at","key":"startedAt","number":5,"kind":"int64"},
    {"name":"finished_at","key":"finishedAt","number":6,"kind":"int64"},
    {"name":"exit_code","key":"exitCode","number":7,"kind":"int32"},
    {"name":"image","key":"image","number":8,"kind":"message","of":"ImageSpec"},
    {"name":"image_ref","key":"imageRef","number":9,"kind":"string"},
    {"name":"reason","key":"reason","number":10,"kind":"string"},
    {"name":"message","key":"message","number":11,"kind":"string"},
    {"name":"labels","key":"labels","number":12,"kind":"map"},
    {"name":"annotations","key":"annotations","number":13,"kind":"map"},
    {"name":"mounts","key":"mounts","number":14,"kind":"message","of":"Mount","repeated":true},
    {"name":"log_path","key":"logPath","number":15,"kind":"string"},
    {"name":"resources","key":"resources","number":16,"kind":"message","of":"ContainerResources"},
    {"name":"image_id","key":"imageId","number":17,"kind":"string"},
    {"name":"user","key":"user","number":18,"kind":"message","of":"ContainerUser"},
    {"name":"stop_signal","key":"stopSignal","number":19,"kind":"enum","of":"Signal"},
  ],
  ContainerStatusResponse: [
    {"name":"status","key":"status","number":1,"kind":"message","of":"ContainerStatus"},
    {"name":"info","key":"info","number":2,"kind":"map"},
  ],
  ContainerResources: [
    {"name":"linux","key":"linux","number":1,"kind":"message","of":"LinuxContainerResources"},
    {"name":"windows","key":"windows","number":2,"kind":"message","of":"WindowsContainerResources"},
  ],
  ContainerUser: [
    {"name":"linux","key":"linux","number":1,"kind":"message","of":"LinuxContainerUser"},
  ],
  UpdateContainerResourcesRequest: [
    {"name":"container_id","key":"containerId","number":1,"kind":"string"},
    {"name":"linux","key":"linux","number":2,"kind":"message","of":"LinuxContainerResources"},
    {"name":"windows","key":"windows","number":3,"kind":"message","of":"WindowsContainerResources"},
    {"name":"annotations","key":"annotations","number":4,"kind":"map"},
  ],
  UpdateContainerResourcesResponse: [
  ],
  ExecSyncRequest: [
    {"name":"container_id","key":"containerId","number":1,"kind":"string"},
    {"name":"cmd","key":"cmd","number":2,"kind":"string","repeated":true},
    {"name":"timeout","key":"timeout","number":3,"kind":"int64"},
  ],
  ExecSyncResponse: [
    {"name":"stdout","key":"stdout","number":1,"kind":"bytes"},
    {"name":"stderr","key":"stderr","number":2,"kind":"bytes"},
    {"name":"exit_code","key":"exitCode","number":3,"kind":"int32"},
  ],
  ExecRequest: [
    {"name":"container_id","key":"containerId","number":1,"kind":"string"},
    {"name":"cmd","key":"cmd","number":2,"kind":"string","repeated":true},
    {"name":"tty","key":"tty","number":3,"kind":"bool"},
    {"name":"stdin","key":"stdin","number":4,"kind":"bool"},
    {"name":"stdout","key":"stdout","number":5,"kind":"bool"},
    {"name":"stderr","key":"stderr","number":6,"kind":"bool"},
  ],
  ExecResponse: [
    {"name":"url","key":"url","number":1,"kind":"string"},
  ],
  AttachRequest: [
    {"name":"container_id","key":"containerId","number":1,"kind":"string"},
    {"name":"stdin","key":"stdin","number":2,"kind":"bool"},
    {"name":"tty","key":"tty","number":3,"kind":"bool"},
    {"name":"stdout","key":"stdout","number":4,"kind":"bool"},
    {"name":"stderr","key":"stderr","number":5,"kind":"bool"},
  ],
  AttachResponse: [
    {"name":"url","key":"url","number":1,"kind":"string"},
  ],
  PortForwardRequest: [
    {"name":"pod_sandbox_id","key":"podSandboxId","number":1,"kind":"string"},
    {"name":"port","key":"port","number":2,"kind":"int32","repeated":true},
  ],
  PortForwardResponse: [
    {"name":"url","key":"url","number":1,"kind":"string"},
  ],
  ImageFilter: [
    {"name":"image","key":"image","number":1,"kind":"message","of":"ImageSpec"},
  ],
  ListImagesRequest: [
    {"name":"filter","key":"filter","number":1,"kind":"message","of":"ImageFilter"},
  ],
  Image: [
    {"name":"id","key":"id","number":1,"kind":"string"},
    {"name":"repo_tags","key":"repoTags","number":2,"kind":"string","repeated":true},
    {"name":"repo_digests","key":"repoDigests","number":3,"kind":"string","repeated":true},
    {"name":"size","key":"size","number":4,"kind":"uint64"},
    {"name":"uid","key":"uid","number":5,"kind":"message","of":"Int64Value"},
    {"name":"username","key":"username","number":6,"kind":"string"},
    {"name":"spec","key":"spec","number":7,"kind":"message","of":"ImageSpec"},
    {"name":"pinned","key":"pinned","number":8,"kind":"bool"},
  ],
  ListImagesResponse: [
    {"name":"images","key":"images","number":1,"kind":"message","of":"Image","repeated":true},
  ],
  StreamImagesRequest: [
    {"name":"filter","key":"filter","number":1,"kind":"message","of":"ImageFilter"},
  ],
  StreamImagesResponse: [
    {"name":"images","key":"images","number":1,"kind":"message","of":"Image","repeated":true},
  ],
  ImageStatusRequest: [
    {"name":"image","key":"image","number":1,"kind":"message","of":"ImageSpec"},
    {"name":"verbose","key":"verbose","number":2,"kind":"bool"},
  ],
  ImageStatusResponse: [
    {"name":"image","key":"image","number":1,"kind":"message","of":"Image"},
    {"name":"info","key":"info","number":2,"kind":"map"},
  ],
  AuthConfig: [
    {"name":"username","key":"username","number":1,"kind":"string"},
    {"name":"password","key":"password","number":2,"kind":"string"},
    {"name":"auth","key":"auth","number":3,"kind":"string"},
    {"name":"server_address","key":"serverAddress","number":4,"kind":"string"},
    {"name":"identity_token","key":"identityToken","number":5,"kind":"string"},
    {"name":"registry_token","key":"registryToken","number":6,"kind":"string"},
  ],
  PullImageRequest: [
    {"name":"image","key":"image","number":1,"kind":"message","of":"ImageSpec"},
    {"name":"auth","key":"auth","number":2,"kind":"message","of":"AuthConfig"},
    {"name":"sandbox_config","key":"sandboxConfig","number":3,"kind":"message","of":"PodSandboxConfig"},
  ],
  PullImageResponse: [
    {"name":"image_ref","key":"imageRef","number":1,"kind":"string"},
  ],
  RemoveImageRequest: [
    {"name":"image","key":"image","number":1,"kind":"message","of":"ImageSpec"},
  ],
  RemoveImageResponse: [
  ],
  NetworkConfig: [
    {"name":"pod_cidr","key":"podCidr","number":1,"kind":"string"},
  ],
  RuntimeConfig: [
    {"name":"network_config","key":"networkConfig","number":1,"kind":"message","of":"NetworkConfig"},
  ],
  UpdateRuntimeConfigRequest: [
    {"name":"runtime_config","key":"runtimeConfig","number":1,"kind":"message","of":"RuntimeConfig"},
  ],
  UpdateRuntimeConfigResponse: [
  ],
  RuntimeCondition: [
    {"name":"type","key":"type","number":1,"kind":"string"},
    {"name":"status","key":"status","number":2,"kind":"bool"},
    {"name":"reason","key":"reason","number":3,"kind":"string"},
    {"name":"message","key":"message","number":4,"kind":"string"},
  ],
  RuntimeStatus: [
    {"name":"conditions","key":"conditions","number":1,"kind":"message","of":"RuntimeCondition","repeated":true},
  ],
  StatusRequest: [
    {"name":"verbose","key":"verbose","number":1,"kind":"bool"},
  ],
  RuntimeHandlerFeatures: [
    {"name":"recursive_read_only_mounts","key":"recursiveReadOnlyMounts","number":1,"kind":"bool"},
    {"name":"user_namespaces","key":"userNamespaces","number":2,"kind":"bool"},
  ],
  RuntimeHandler: [
    {"name":"name","key":"name","number":1,"kind":"string"},
    {"name":"features","key":"features","number":2,"kind":"message","of":"RuntimeHandlerFeatures"},
  ],
  RuntimeFeatures: [
    {"name":"supplemental_groups_policy","key":"supplementalGroupsPolicy","number":1,"kind":"bool"},
    {"name":"user_namespaces_host_network","key":"userNamespacesHostNetwork","number":2,"kind":"bool"},
  ],
  StatusResponse: [
    {"name":"status","key":"status","number":1,"kind":"message","of":"RuntimeStatus"},
    {"name":"info","key":"info","number":2,"kind":"map"},
    {"name":"runtime_handlers","key":"runtimeHandlers","number":3,"kind":"message","of":"RuntimeHandler","repeated":true},
    {"name":"features","key":"features","number":4,"kind":"message","of":"RuntimeFeatures"},
  ],
  ImageFsInfoRequest: [
  ],
  UInt64Value: [
    {"name":"value","key":"value","number":1,"kind":"uint64"},
  ],
  FilesystemIdentifier: [
    {"name":"mountpoint","key":"mountpoint","number":1,"kind":"string"},
  ],
  FilesystemUsage: [
    {"name":"timestamp","key":"timestamp","number":1,"kind":"int64"},
    {"name":"fs_id","key":"fsId","number":2,"kind":"message","of":"FilesystemIdentifier"},
    {"name":"used_bytes","key":"usedBytes","number":3,"kind":"message","of":"UInt64Value"},
    {"name":"inodes_used","key":"inodesUsed","number":4,"kind":"message","of":"UInt64Value"},
  ],
  WindowsFilesystemUsage: [
    {"name":"timestamp","key":"timestamp","number":1,"kind":"int64"},
    {"name":"fs_id","key":"fsId","number":2,"kind":"message","of":"FilesystemIdentifier"},
    {"name":"used_bytes","key":"usedBytes","number":3,"kind":"message","of":"UInt64Value"},
  ],
  ImageFsInfoResponse: [
    {"name":"image_filesystems","key":"imageFilesystems","number":1,"kind":"message","of":"FilesystemUsage","repeated":true},
    {"name":"container_filesystems","key":"containerFilesystems","number":2,"kind":"message","of":"FilesystemUsage","repeated":true},
  ],
  ContainerStatsRequest: [
    {"name":"container_id","key":"containerId","number":1,"kind":"string"},
  ],
  ContainerStatsResponse: [
    {"name":"stats","key":"stats","number":1,"kind":"message","of":"ContainerStats"},
  ],
  ListContainerStatsRequest: [
    {"name":"filter","key":"filter","number":1,"kind":"message","of":"ContainerStatsFilter"},
  ],
  ContainerStatsFilter: [
    {"name":"id","key":"id","number":1,"kind":"string"},
    {"name":"pod_sandbox_id","key":"podSandboxId","number":2,"kind":"string"},
    {"name":"label_selector","key":"labelSelector","number":3,"kind":"map"},
  ],
  ListContainerStatsResponse: [
    {"name":"stats","key":"stats","number":1,"kind":"message","of":"ContainerStats","repeated":true},
  ],
  StreamContainerStatsRequest: [
    {"name":"filter","key":"filter","number":1,"kind":"message","of":"ContainerStatsFilter"},
  ],
  StreamContainerStatsResponse: [
    {"name":"container_stats","key":"containerStats","number":1,"kind":"message","of":"ContainerStats","repeated":true},
  ],
  ContainerAttributes: [
    {"name":"id","key":"id","number":1,"kind":"string"},
    {"name":"metadata","key":"metadata","number":2,"kind":"message","of":"ContainerMetadata"},
    {"name":"labels","key":"labels","number":3,"kind":"map"},
    {"name":"annotations","key":"annotations","number":4,"kind":"map"},
  ],
  ContainerStats: [
    {"name":"attributes","key":"attributes","number":1,"kind":"message","of":"ContainerAttributes"},
    {"name":"cpu","key":"cpu","number":2,"kind":"message","of":"CpuUsage"},
    {"name":"memory","key":"memory","number":3,"kind":"message","of":"MemoryUsage"},
    {"name":"writable_layer","key":"writableLayer","number":4,"kind":"message","of":"FilesystemUsage"},
    {"name":"swap","key":"swap","number":5,"kind":"message","of":"SwapUsage"},
    {"name":"io","key":"io","number":6,"kind":"message","of":"IoUsage"},
  ],
  WindowsContainerStats: [
    {"name":"attributes","key":"attributes","number":1,"kind":"message","of":"ContainerAttributes"},
    {"name":"cpu","key":"cpu","number":2,"kind":"message","of":"WindowsCpuUsage"},
    {"name":"memory","key":"memory","number":3,"kind":"message","of":"WindowsMemoryUsage"},
    {"name":"writable_layer","key":"writableLayer","number":4,"kind":"message","of":"WindowsFilesystemUsage"},
  ],
  PsiStats: [
    {"name":"Full","key":"Full","number":1,"kind":"message","of":"PsiData"},
    {"name":"Some","key":"Some","number":2,"kind":"message","of":"PsiData"},
  ],
  PsiData: [
    {"name":"Total","key":"Total","number":1,"kind":"uint64"},
    {"name":"Avg10","key":"Avg10","number":2,"kind":"double"},
    {"name":"Avg60","key":"Avg60","number":3,"kind":"double"},
    {"name":"Avg300","key":"Avg300","number":4,"kind":"double"},
  ],
  CpuUsage: [
    {"name":"timestamp","key":"timestamp","number":1,"kind":"int64"},
    {"name":"usage_core_nano_seconds","key":"usageCoreNanoSeconds","number":2,"kind":"message","of":"UInt64Value"},
    {"name":"usage_nano_cores","key":"usageNanoCores","number":3,"kind":"message","of":"UInt64Value"},
    {"name":"psi","key":"psi","number":4,"kind":"message","of":"PsiStats"},
  ],
  WindowsCpuUsage: [
    {"name":"timestamp","key":"timestamp","number":1,"kind":"int64"},
    {"name":"usage_core_nano_seconds","key":"usageCoreNanoSeconds","number":2,"kind":"message","of":"UInt64Value"},
    {"name":"usage_nano_cores","key":"usageNanoCores","number":3,"kind":"message","of":"UInt64Value"},
  ],
  MemoryUsage: [
    {"name":"timestamp","key":"timestamp","number":1,"kind":"int64"},
    {"name":"working_set_bytes","key":"workingSetBytes","number":2,"kind":"message","of":"UInt64Value"},
    {"name":"available_bytes","key":"availableBytes","number":3,"kind":"message","of":"UInt64Value"},
    {"name":"usage_bytes","key":"usageBytes","number":4,"kind":"message","of":"UInt64Value"},
    {"name":"rss_bytes","key":"rssBytes","number":5,"kind":"message","of":"UInt64Value"},
    {"name":"page_faults","key":"pageFaults","number":6,"kind":"message","of":"UInt64Value"},
    {"name":"major_page_faults","key":"majorPageFaults","number":7,"kind":"message","of":"UInt64Value"},
    {"name":"psi","key":"psi","number":8,"kind":"message","of":"PsiStats"},
  ],
  IoUsage: [
    {"name":"timestamp","key":"timestamp","number":1,"kind":"int64"},
    {"name":"psi","key":"psi","number":2,"kind":"message","of":"PsiStats"},
  ],
  SwapUsage: [
    {"name":"timestamp","key":"timestamp","number":1,"kind":"int64"},
    {"name":"swap_available_bytes","key":"swapAvailableBytes","number":2,"kind":"message","of":"UInt64Value"},
    {"name":"swap_usage_bytes","key":"swapUsageBytes","number":3,"kind":"message","of":"UInt64Value"},
  ],
  WindowsMemoryUsage: [
    {"name":"timestamp","key":"timestamp","number":1,"kind":"int64"},
    {"name":"working_set_bytes","key":"workingSetBytes","number":2,"kind":"message","of":"UInt64Value"},
    {"name":"available_bytes","key":"availableBytes","number":3,"kind":"message","of":"UInt64Value"},
    {"name":"page_faults","key":"pageFaults","number":4,"kind":"message","of":"UInt64Value"},
    {"name":"commit_memory_bytes","key":"commitMemoryBytes","number":5,"kind":"message","of":"UInt64Value"},
  ],
  ReopenContainerLogRequest: [
    {"name":"container_id","key":"containerId","number":1,"kind":"string"},
  ],
  ReopenContainerLogResponse: [
  ],
  CheckpointContainerRequest: [
    {"name":"container_id","key":"containerId","number":1,"kind":"string"},
    {"name":"location","key":"location","number":2,"kind":"string"},
    {"name":"timeout","key":"timeout","number":3,"kind":"int64"},
  ],
  CheckpointContainerResponse: [
  ],
  GetEventsRequest: [
  ],
  ContainerEventResponse: [
    {"name":"container_id","key":"containerId","number":1,"kind":"string"},
    {"name":"container_event_type","key":"containerEventType","number":2,"kind":"enum","of":"ContainerEventType"},
    {"name":"created_at","key":"createdAt","number":3,"kind":"int64"},
    {"name":"pod_sandbox_status","key":"podSandboxStatus","number":4,"kind":"message","of":"PodSandboxStatus"},
    {"name":"containers_statuses","key":"containersStatuses","number":5,"kind":"message","of":"ContainerStatus","repeated":true},
  ],
  ListMetricDescriptorsRequest: [
  ],
  ListMetricDescriptorsResponse: [
    {"name":"descriptors","key":"descriptors","number":1,"kind":"message","of":"MetricDescriptor","repeated":true},
  ],
  MetricDescriptor: [
    {"name":"name","key":"name","number":1,"kind":"string"},
    {"name":"help","key":"help","number":2,"kind":"string"},
    {"name":"label_keys","key":"labelKeys","number":3,"kind":"string","repeated":true},
  ],
  ListPodSandboxMetricsRequest: [
  ],
  ListPodSandboxMetricsResponse: [
    {"name":"pod_metrics","key":"podMetrics","number":1,"kind":"message","of":"PodSandboxMetrics","repeated":true},
  ],
  StreamPodSandboxMetricsRequest: [
  ],
  StreamPodSandboxMetricsResponse: [
    {"name":"pod_sandbox_metrics","key":"podSandboxMetrics","number":1,"kind":"message","of":"PodSandboxMetrics","repeated":true},
  ],
  PodSandboxMetrics: [
    {"name":"pod_sandbox_id","key":"podSandboxId","number":1,"kind":"string"},
    {"name":"metrics","key":"metrics","number":2,"kind":"message","of":"Metric","repeated":true},
    {"name":"container_metrics","key":"containerMetrics","number":3,"kind":"message","of":"ContainerMetrics","repeated":true},
  ],
  ContainerMetrics: [
    {"name":"container_id","key":"containerId","number":1,"kind":"string"},
    {"name":"metrics","key":"metrics","number":2,"kind":"message","of":"Metric","repeated":true},
  ],
  Metric: [
    {"name":"name","key":"name","number":1,"kind":"string"},
    {"name":"timestamp","key":"timestamp","number":2,"kind":"int64"},
    {"name":"metric_type","key":"metricType","number":3,"kind":"enum","of":"MetricType"},
    {"name":"label_values","key":"labelValues","number":4,"kind":"string","repeated":true},
    {"name":"value","key":"value","number":5,"kind":"message","of":"UInt64Value"},
  ],
  RuntimeConfigRequest: [
  ],
  RuntimeConfigResponse: [
    {"name":"linux","key":"linux","number":1,"kind":"message","of":"LinuxRuntimeConfiguration"},
  ],
  LinuxRuntimeConfiguration: [
    {"name":"cgroup_driver","key":"cgroupDriver","number":1,"kind":"enum","of":"CgroupDriver"},
  ],
  UpdatePodSandboxResourcesRequest: [
    {"name":"pod_sandbox_id","key":"podSandboxId","number":1,"kind":"string"},
    {"name":"overhead","key":"overhead","number":2,"kind":"message","of":"LinuxContainerResources"},
    {"name":"resources","key":"resources","number":3,"kind":"message","of":"LinuxContainerResources"},
  ],
  UpdatePodSandboxResourcesResponse: [
  ],
};
