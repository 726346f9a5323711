/** Keeps the files of sample events that `dispatchd schema generate` makes schemas of: for an application's tests. */

/**
 * Writes `FOLDER/TYPE.sample.json`, unless it says the same already. Where the environment has `CI` it never writes, and
 * throws if the file differs.
 *
 * A sample is the event's data, or its JSON text, as the `schema()` of a payload's class gives it. The samples have to be
 * complete: it throws if a member has a value in none of them; `null`, `undefined`, `''`, `[]` and `{}` are no values.
 */
export function keepSample(folder: string, type: string, ...samples: [object | string, ...(object | string)[]]): void
