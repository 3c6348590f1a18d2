/** The names of an enum's values and their numbers. */
export type EnumDescriptor = Readonly<Record<string, number>>;

/** One field of a message, as in proto/. */
export interface FieldDescriptor {
  /** As in the .proto file, in snake case. */
  readonly name: string;
  /** The property of the generated TypeScript type, which is also the field's name in JSON. */
  readonly key: string;
  readonly number: number;
  /** `map` is map<string, string>, the only kind of map in the CRI. */
  readonly kind:
    | "string"
    | "bytes"
    | "bool"
    | "int32"
    | "uint32"
    | "int64"
    | "uint64"
    | "double"
    | "message"
    | "enum"
    | "map";
  /** The name of the message or enum, if `kind` is one of these. */
  readonly of?: string;
  readonly repeated?: boolean;
  readonly deprecated?: boolean;
}
