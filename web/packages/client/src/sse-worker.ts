// The script of the SharedWorker that sharedSse starts.

import { createHub } from "./shared-hub.js";
import type { Port, ToTab, ToWorker } from "./shared-protocol.js";

const accept = createHub({ locks: navigator.locks as LockManager | undefined });
globalThis.addEventListener("connect", (event) => {
	const [port] = (event as MessageEvent).ports;
	if (port) accept(port as unknown as Port<ToTab, ToWorker>);
});
