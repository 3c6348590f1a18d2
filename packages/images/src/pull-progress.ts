/** One layer of a pull under way. */
export interface LayerProgress {
  digest: string;
  stage: "waiting" | "downloading" | "done" | "present";
  receivedBytes: number;
  totalBytes: number;
}

/** A pull under way, for whoever asks why an image is not there yet. */
export interface PullProgress {
  /** Normalised. */
  reference: string;
  startedAtMs: number;
  stage: "resolving" | "fetching layers";
  layers: LayerProgress[];
}
