// The page of sluice demo: every kind of call on one connection, which may be changed or cut under them.

import { createConnection } from "./connection.js";
import { startFrames } from "./frames.js";
import { startLines } from "./parts/lines.js";
import { startChat } from "./parts/chat.js";
import { startKeys } from "./parts/keys.js";
import { startSnippets } from "./parts/snippets.js";
import { startTicker } from "./parts/ticker.js";
import { startTrips } from "./parts/trips.js";
import { startUnary } from "./parts/unary.js";
import { startUpload } from "./parts/upload.js";
import { startTheme } from "./theme.js";
import { createWire } from "./wire.js";

startTheme();
const frames = startFrames();
const wire = createWire();
const connection = createConnection({
	event(event) {
		frames.event(event);
		wire.event(event);
	},
	frame(frame) {
		frames.frame(frame);
		wire.frame(frame);
	},
});
wire.start(connection);
startChat(connection);
startKeys(connection);
startTicker(connection);
startUpload(connection);
startUnary(connection);
startTrips();
startLines();
startSnippets();
