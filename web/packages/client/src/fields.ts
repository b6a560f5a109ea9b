// Field blocks of docs/protocols/duplex.md: lines of "name: value", each ended by CR LF.

import { ProtocolError } from "./frames.js";

/** A Field is a name, in lower case, and a value. */
export type Field = readonly [name: string, value: string];

// RFC 9110, section 5.6.2. A colon in front is of the protocol.
const fieldName = /^:?[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const control = /[\x00-\x08\x0a-\x1f\x7f]/;

/** encodeFields returns a block. It throws a TypeError if a field can't be in one. White space around a value does not arrive. */
export function encodeFields(fields: Iterable<Field>): Uint8Array {
	let text = "";
	for (const [name, value] of fields) {
		if (!fieldName.test(name)) throw new TypeError(`${JSON.stringify(name)} is not a field name`);
		if (control.test(value)) throw new TypeError(`the value of ${name} has a control character`);
		text += `${name}: ${value}\r\n`;
	}
	return Uint8Array.from(text, (c) => {
		const n = c.charCodeAt(0);
		if (n > 0xff) throw new TypeError(`${c} is not ASCII`);
		return n;
	});
}

/** parseFields reads a block. Names are made lower case, white space around values is dropped. */
export function parseFields(b: Uint8Array): Field[] {
	const lines = latin1(b).split("\n");
	if (lines.at(-1) === "") lines.pop();
	return lines.map((line, i) => {
		const fail = (what: string) => new ProtocolError(`field block, line ${i + 1}: ${what}`);
		if (line.endsWith("\r")) line = line.slice(0, -1);
		if (line === "") throw fail("it is empty");
		const colon = line.indexOf(":", 1); // a name may begin with one
		if (colon < 0) throw fail("there is no colon");
		const name = line.slice(0, colon).toLowerCase();
		if (!fieldName.test(name)) throw fail(`${JSON.stringify(name)} is not a field name`);
		const value = line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, "");
		if (control.test(value)) throw fail(`the value of ${name} has a control character`);
		return [name, value];
	});
}

/** latin1 has a character for each byte. The TextDecoder of that name is of windows-1252. */
function latin1(b: Uint8Array): string {
	let text = "";
	for (let at = 0; at < b.length; at += 8192) text += String.fromCharCode(...b.subarray(at, at + 8192));
	return text;
}

/** fieldsOf returns what is in Headers, as fields of a call. Fields that are about a connection of HTTP are left out. */
export function fieldsOf(headers: Headers): Field[] {
	const fields: Field[] = [];
	headers.forEach((value, name) => {
		if (!ofHTTP.test(name)) fields.push([name, value]);
	});
	return fields;
}

/** askHeaders has the headers of an option, or throws the reason of the signal. */
export async function askHeaders(
	headers: HeadersInit | (() => HeadersInit | Promise<HeadersInit>) | undefined,
	signal: AbortSignal,
): Promise<Headers> {
	const aborted = () =>
		new Promise<never>((_, reject) => {
			signal.addEventListener("abort", () => reject(signal.reason));
		});
	// They are first: if they throw, nobody would hear of the other one.
	return new Headers(typeof headers === "function" ? await Promise.race([headers(), aborted()]) : headers);
}

const ofHTTP = /^(connection|content-length|host|keep-alive|te|transfer-encoding|upgrade)$/;

/** headersOf returns the metadata among fields. */
export function headersOf(fields: Iterable<Field>): Headers {
	const headers = new Headers();
	for (const [name, value] of fields) if (!name.startsWith(":")) headers.append(name, value);
	return headers;
}
