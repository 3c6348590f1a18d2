/** A program that may be executed. */
export interface ProgramToCheck {
  /** Absolute. */
  readonly path: string;
  /** What it prints for `--version`, where that is known already. */
  readonly answer?: string | undefined;
}

/** Knows which programs have published flaws. */
export interface ProgramCheck {
  /** To be called before programs are used; costs little when they are the same as before. Never throws. */
  look(programs: readonly ProgramToCheck[]): Promise<void>;
  /** Why a program that was looked at must not be used, and what would help; undefined when it may. */
  refusal(path: string): string | undefined;
}
