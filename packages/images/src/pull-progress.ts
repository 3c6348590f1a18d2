/** A layer of a running pull. */
export interface LayerProgress {
  digest: string;
  stage: "waiting" | "downloading" | "done" | "present";
  receivedBytes: number;
  totalBytes: number;
}

/** A running pull, for those who want to know why an image is not available yet. */
export interface PullProgress {
  /** In its normal form. */
  reference: string;
  startedAtMs: number;
  stage: "resolving" | "fetching layers";
  layers: LayerProgress[];
}
