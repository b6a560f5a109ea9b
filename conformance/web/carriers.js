// The carriers of web/packages/client by their names, for pages.
import {
	createDuplex, createLongPoll, createStreamingDuplex, createWebSocket, createWebTransport, discover,
} from "../../web/packages/client/src/index.ts";

const withHash = (hash) => ({ serverCertificateHashes: [{ algorithm: "sha-256", value: Uint8Array.from(hash) }] });

/** carriers make one each. Without a hash of the certificate, which is an array, WebTransport asks the gateway for it. */
export const carriers = {
	websocket: () => createWebSocket(),
	webtransport: (hash) => createWebTransport(hash ? withHash(hash) : { discover }),
	"duplex-streaming": () => createStreamingDuplex(),
	duplex: () => createDuplex(),
	"long-poll": () => createLongPoll(),
	/** What a session takes that names none. */
	automatic: () => undefined,
};
