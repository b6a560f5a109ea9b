// The format text/event-stream: HTML, section 9.2.6.

import { createLines } from "./lines.js";
import { tooLarge } from "./stream-error.js";

/** A RawEvent is an event as it came. */
export interface RawEvent {
	/** Its name, "message" if it has none. */
	readonly event: string;
	readonly data: string;
	/** The last id that came, with this event or before it; "" if there was none. */
	readonly id: string;
	/** The time to reconnect, in milliseconds, if the event has it. */
	readonly retry: number | undefined;
}

/** EventLimits bound what a server can make us keep. */
export interface EventLimits {
	/** How many bytes a line may have: 8388608 if missing. */
	readonly maxLineBytes?: number | undefined;
	/** How many bytes all lines of an event may have: 8388608 if missing. */
	readonly maxEventBytes?: number | undefined;
}

/** An EventParser reads the stream of one response. */
export interface EventParser {
	/** feed yields the events that end in b. All are to be taken before more is fed. */
	feed(b: Uint8Array): Iterable<RawEvent>;
	/** The last id, as a new connection has to name it. */
	readonly lastEventId: string;
	/** The time to reconnect that the server has told last. */
	readonly retry: number | undefined;
}

/** What limits are unless they are given: the gateway's largest message, as JSON and with room to spare. */
export const defaultMaxBytes = 8_388_608;

/** createEventParser makes a parser of a response, which continues what had the given id last. */
export function createEventParser(lastEventId: string, limits: EventLimits = {}): EventParser {
	const { maxLineBytes = defaultMaxBytes, maxEventBytes = defaultMaxBytes } = limits;
	const lines = createLines(maxLineBytes, "maxLineBytes", "any");
	let id = lastEventId; // of the event that comes
	let event = "";
	let data: string[] = [];
	let bytes = 0;
	let retry: number | undefined;
	let eventRetry: number | undefined;

	/** dispatch ends an event. One without data is none, but its id counts. */
	const dispatch = (): RawEvent | undefined => {
		lastEventId = id;
		const raw =
			data.length > 0 ? { event: event || "message", data: data.join("\n"), id, retry: eventRetry } : undefined;
		event = "";
		data = [];
		bytes = 0;
		eventRetry = undefined;
		return raw;
	};

	const field = (name: string, value: string) => {
		switch (name) {
			case "event":
				event = value;
				break;
			case "data":
				data.push(value);
				break;
			case "id":
				if (!value.includes("\0")) id = value;
				break;
			case "retry":
				if (/^\d{1,15}$/.test(value)) retry = eventRetry = Number(value);
				break;
		}
	};

	return {
		get lastEventId() {
			return lastEventId;
		},
		get retry() {
			return retry;
		},
		*feed(b) {
			for (const line of lines.feed(b)) {
				if (line === "") {
					const raw = dispatch();
					if (raw) yield raw;
					continue;
				}
				const colon = line.indexOf(":");
				if (colon === 0) continue; // a comment
				bytes += lines.size;
				if (bytes > maxEventBytes) throw tooLarge("an event", "maxEventBytes", maxEventBytes);
				if (colon < 0) field(line, "");
				else field(line.slice(0, colon), line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1));
			}
		},
	};
}
