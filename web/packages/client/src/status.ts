// The status of a call.

import type { Field } from "./fields.js";

/** Code has gRPC's status codes. */
export const Code = {
	ok: 0,
	cancelled: 1,
	unknown: 2,
	invalidArgument: 3,
	deadlineExceeded: 4,
	notFound: 5,
	alreadyExists: 6,
	permissionDenied: 7,
	resourceExhausted: 8,
	failedPrecondition: 9,
	aborted: 10,
	outOfRange: 11,
	unimplemented: 12,
	internal: 13,
	unavailable: 14,
	dataLoss: 15,
	unauthenticated: 16,
} as const;

/** codeName returns gRPC's name of a code, as NOT_FOUND. */
export function codeName(code: number): string {
	const name = Object.keys(Code)[code]; // which are in the order of their numbers
	return name?.replace(/[A-Z]/g, "_$&").toUpperCase() ?? `CODE_${code}`;
}

/** A Status is how a call ended. */
export interface Status {
	/** One of Code, or a number that is not there. */
	readonly code: number;
	readonly message: string;
	/** The trailing metadata, with grpc-status-details-bin if there is one. */
	readonly trailers: Headers;
}

/** statusOf makes a status that this side concluded. */
export function statusOf(code: number, message: string, trailers = new Headers()): Status {
	return { code, message, trailers };
}

/**
 * A StatusError is a call that did not end with OK.
 *
 *     try {
 *       for await (const message of call.messages) …
 *     } catch (err) {
 *       if (err instanceof StatusError && err.code === Code.notFound) …
 *     }
 */
export class StatusError extends Error {
	override name = "StatusError";
	readonly code: number;
	readonly status: Status;

	constructor(status: Status) {
		super(`${codeName(status.code)}: ${status.message}`);
		this.code = status.code;
		this.status = status;
	}
}

/** statusOfFields reads the status of END, or of a RESUMED that is gone. */
export function statusOfFields(fields: readonly Field[]): Status {
	const trailers = new Headers();
	let code: string | undefined;
	let message = "";
	for (const [name, value] of fields) {
		if (name === "grpc-status") code = value;
		else if (name === "grpc-message") message = decodeMessage(value);
		else if (!name.startsWith(":")) trailers.append(name, value);
	}
	if (!/^\d{1,10}$/.test(code ?? "")) return statusOf(Code.internal, "the server gave no status", trailers);
	return statusOf(Number(code), message, trailers);
}

/** decodeMessage decodes the percent-encoding of grpc-message. What can't be decoded is left as it is. */
function decodeMessage(text: string): string {
	const bytes = text.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
	return new TextDecoder().decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0)));
}

/** formatTimeout writes grpc-timeout, which has at most eight digits. */
export function formatTimeout(ms: number): string {
	const n = Math.max(1, Math.ceil(ms));
	return n < 1e8 ? `${n}m` : `${Math.min(Math.ceil(n / 1000), 99_999_999)}S`;
}
