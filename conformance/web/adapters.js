// Clients of libraries that know nothing of Sluice, on sessions: those of web/packages/client's adapters.
import { connect } from "../../web/packages/client/src/index.ts";
import { createTransportFactory } from "../../web/packages/client/src/grpc-web.ts";
import { createNiceTransport } from "../../web/packages/client/src/nice-grpc-web.ts";
import { createRpcTransport } from "../../web/packages/client/src/protobuf-ts.ts";
import { createImprobable, createNice, createProtobufTs } from "./callers.js";
import { DemoClient } from "generated:demo.client";
import { createSchema } from "./schema.js";

export { createWebSocket } from "../../web/packages/client/src/index.ts";

/** createAdapters returns a session and what calls on it, by the names of libraries. */
export function createAdapters(baseUrl, descriptorSet, carriers) {
	const { service } = createSchema(descriptorSet);
	service.method.missing = { ...service.method.echo, name: "Missing" };
	const session = connect({ baseUrl, ...(carriers ? { carriers } : {}) });
	const transport = createRpcTransport(session);
	return {
		session,
		callers: {
			"protobuf-ts": createProtobufTs(new DemoClient(transport), transport),
			"nice-grpc-web": createNice(service, baseUrl, createNiceTransport(session)),
			"grpc-web": createImprobable(service, baseUrl, createTransportFactory(session)),
		},
	};
}

/** pingPong makes a bidirectional call, cuts its connections in the middle, and returns how it went. */
export async function pingPong(caller, session, rounds) {
	const call = caller.call("chat", [{ text: "0" }], {
		metadata: { "x-end": "end" },
		finish: false,
		onMessage({ number }) {
			if (number % 10 === 5) session.cut();
			if (number < rounds) call.send({ text: String(number) });
			else call.finish();
		},
	});
	const got = await call.done;
	return { code: got.code, texts: got.messages.map((m) => m.text), end: got.trailer("x-echo-trailer") };
}
