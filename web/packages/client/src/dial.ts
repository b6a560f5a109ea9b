// How a session gets connections: the interface, and what there is to do for one carrier.

import type { Carrier } from "./carrier.js";
import type { SessionEvent } from "./events.js";
import type { Field } from "./fields.js";
import type { Link } from "./link.js";
import { messageOf } from "./message-of.js";

/** A Dialer makes connections, and may find a better one later. */
export interface Dialer {
	/** dial makes a connection: won or failed follows. */
	dial(): void;
	/** left says that the connection is no more. By itself means that nobody wanted it so. */
	left(byItself: boolean): void;
	/** datagrams says that a call wants them. True is: it is worth to wait for won or settled. */
	datagrams(): boolean;
	/** stop gives up what is being made. */
	stop(): void;
	/** Whether won or failed will follow. */
	readonly dialing: boolean;
}

/** A Dialling is what a Dialer needs of its session. */
export interface Dialling {
	readonly endpoint: URL;
	/** What asks the gateway about itself. */
	readonly fetch: typeof fetch | undefined;
	/** hello says what HELLO says on a connection that is made now. */
	hello(): Promise<Field[]>;
	/** link begins a connection. Open and lost are told until won. It throws if the fields can't be sent. */
	link(carrier: Carrier, hello: readonly Field[], events: LinkTold): Link;
	/** won hands a connection over, which takes the place of the one that there is. */
	won(link: Link): void;
	/** failed says that there is none. */
	failed(reason: string): void;
	/** tell tells an event. */
	tell(event: SessionEvent): void;
	/** explain says why nothing works, when that is known. */
	explain(reason: string): void;
	/** settled says that calls need not wait for datagrams any more. */
	settled(): void;
	/** Whether there are calls. */
	readonly busy: boolean;
	/** The connection that there is. */
	readonly current: Link | undefined;
}

/** LinkTold is what becomes of a link that has not won yet. */
export interface LinkTold {
	open(): void;
	lost(reason: string): void;
}

/** createSingle makes connections of one carrier. */
export function createSingle(carrier: Carrier, session: Dialling): Dialer {
	let trying: { link?: Link } | undefined;

	const dial = async () => {
		const mine: { link?: Link } = {};
		trying = mine;
		const end = (f: () => void) => {
			if (trying !== mine) return;
			trying = undefined;
			f();
		};
		try {
			const hello = await session.hello();
			if (trying !== mine) return;
			const link = session.link(carrier, hello, {
				open: () => end(() => session.won(link)),
				lost: (reason) => end(() => session.failed(reason)),
			});
			mine.link = link;
		} catch (err) {
			end(() => session.failed(`headers: ${messageOf(err)}`));
		}
	};

	return {
		dial: () => void dial(),
		left() {},
		datagrams: () => false,
		stop() {
			trying?.link?.close("cut", "another carrier was chosen");
			trying = undefined;
		},
		get dialing() {
			return trying !== undefined;
		},
	};
}
