/** What is in a layer's directory: its manifest, its files, and the mark of a layer that was found damaged. */
export const layerFiles = { manifest: "manifest", diff: "diff", damageMark: "damaged" } as const;
