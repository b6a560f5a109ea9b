// How a stream over REST fails: docs/protocols/rest-streams.md and docs/rest.md, "Errors".

import { Code, StatusError, statusOf } from "./status.js";

/** A Detail is one of the details of a google.rpc.Status, as JSON. */
export interface Detail {
	readonly "@type"?: string;
	readonly [name: string]: unknown;
}

/**
 * A StreamError is a stream that did not end well: the code and the message are the server's, or say what broke.
 *
 *     try {
 *       for await (const { data } of sse<Tick>(url)) …
 *     } catch (err) {
 *       if (err instanceof StreamError && err.code === Code.notFound) …
 *     }
 */
export class StreamError extends StatusError {
	override name = "StreamError";
	/** The details of the server's status. */
	readonly details: readonly Detail[];

	constructor(code: number, message: string, more: { details?: readonly Detail[]; cause?: unknown } = {}) {
		super(statusOf(code, message));
		this.details = more.details ?? [];
		if (more.cause !== undefined) this.cause = more.cause;
	}
}

/** errorOfStatus makes an error of a google.rpc.Status as JSON. */
export function errorOfStatus(status: unknown): StreamError {
	if (!isObject(status) || typeof status.code !== "number") {
		return new StreamError(Code.unknown, `the server told of a failure that can't be read: ${JSON.stringify(status)}`);
	}
	const details = Array.isArray(status.details) ? status.details.filter(isObject) : [];
	return new StreamError(status.code, typeof status.message === "string" ? status.message : "", { details });
}

/** brokeOff makes the error of a connection that is no more. */
export function brokeOff(what: string, cause: unknown): StreamError {
	const why = cause instanceof Error ? cause.message || cause.name : String(cause);
	return new StreamError(Code.unavailable, `${what}: ${why}`, { cause });
}

/** tooLarge makes the error of what passes a limit, and names it. */
export function tooLarge(what: string, limit: string, value: number): StreamError {
	return new StreamError(Code.resourceExhausted, `${what} has more than ${value} bytes (${limit})`);
}

/** maxErrorBytes is how much is read of the content of an answer that is an error. */
const maxErrorBytes = 65_536;

/** errorOfResponse makes an error of an answer with another HTTP status than the one that was wanted. */
export async function errorOfResponse(response: Response): Promise<StreamError> {
	const text = await textOf(response);
	let document: unknown;
	try {
		document = JSON.parse(text);
	} catch {
		// not of the gateway, or switched off there
	}
	if (isObject(document)) {
		// The forms of the option errors: status, google (AIP-193), problem (RFC 9457).
		const google = document.error;
		if (isObject(google) && typeof google.status === "string") {
			return errorOfStatus({ ...google, code: codeOfName(google.status) ?? codeOfHTTP(response.status) });
		}
		const { code, message, detail, details } = document;
		if (typeof code === "number") return errorOfStatus({ code, message: message ?? detail, details });
	}
	const code = response.headers.get("grpc-status");
	if (code !== null && /^\d{1,3}$/.test(code)) {
		return new StreamError(Number(code), decode(response.headers.get("grpc-message") ?? ""));
	}
	const what = text.trim().slice(0, 200);
	return new StreamError(codeOfHTTP(response.status), `HTTP status ${response.status}${what ? `: ${what}` : ""}`);
}

async function textOf(response: Response): Promise<string> {
	const reader = response.body?.getReader();
	const decoder = new TextDecoder();
	let text = "";
	try {
		for (let n = 0; reader && n < maxErrorBytes;) {
			const part = await reader.read();
			if (part.done) break;
			n += part.value.length;
			text += decoder.decode(part.value, { stream: true });
		}
		await reader?.cancel();
	} catch {
		// what came is enough
	}
	return text;
}

/** codeOfHTTP is the table of grpc's doc/http-grpc-status-mapping.md, for answers that are not the gateway's. */
export function codeOfHTTP(status: number): number {
	switch (status) {
		case 400:
			return Code.internal;
		case 401:
			return Code.unauthenticated;
		case 403:
			return Code.permissionDenied;
		case 404:
			return Code.unimplemented;
		case 429:
		case 502:
		case 503:
		case 504:
			return Code.unavailable;
	}
	return Code.unknown;
}

function codeOfName(name: string): number | undefined {
	const camel = name.toLowerCase().replace(/_(.)/g, (_, c: string) => c.toUpperCase());
	return Object.entries(Code).find(([n]) => n === camel)?.[1];
}

function decode(message: string): string {
	try {
		return decodeURIComponent(message);
	} catch {
		return message;
	}
}

/** isObject says whether JSON is an object. */
export function isObject(v: unknown): v is Record<string, unknown> {
	return typeof v === "object" && v !== null && !Array.isArray(v);
}
