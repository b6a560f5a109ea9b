// Calls as users of several libraries make them, in one form: call(name, messages, options) starts one. They run in Node and in
// browsers.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import * as improbable from "@improbable-eng/grpc-web";
import { stackIntercept } from "@protobuf-ts/runtime-rpc";
import { createChannel, createClientFactory, Metadata } from "nice-grpc-web";

const { grpc } = improbable.default ?? improbable; // of Node, and of bundles

/** createImprobable makes calls of improbable-eng/grpc-web. */
export function createImprobable(service, host, transport) {
	const wrap = (schema, value) => ({ value, toObject: () => value, serializeBinary: () => toBinary(schema, value) });
	return {
		/**
		 * call starts one; messages are those of the client. done is kept when it ends, with
		 * whatever status. Without finish it is not half-closed.
		 */
		call(name, messages, { metadata = {}, onMessage = () => {}, onHeaders = () => {}, finish = true } = {}) {
			const { input, output, methodKind } = service.method[name];
			const got = { messages: [] };
			const client = grpc.client(
				{
					methodName: service.method[name].name,
					service: { serviceName: service.typeName },
					requestStream: methodKind === "client_streaming" || methodKind === "bidi_streaming",
					responseStream: methodKind === "server_streaming" || methodKind === "bidi_streaming",
					requestType: { serializeBinary() {} },
					responseType: { deserializeBinary: (b) => wrap(output, fromBinary(output, b)) },
				},
				{ host, transport },
			);
			const done = new Promise((resolve) => {
				client.onHeaders((h) => {
					got.header = (name) => h.get(name)[0];
					onHeaders();
				});
				client.onMessage((m) => {
					got.messages.push(m.value);
					onMessage(m.value);
				});
				client.onEnd((code, text, t) => resolve(Object.assign(got, { code, text, trailer: (name) => t.get(name)[0] })));
			});
			client.start(new grpc.Metadata(metadata));
			const send = (m) => client.send(wrap(input, create(input, m)));
			for (const m of messages) send(m);
			if (finish) client.finishSend();
			return { done, send, finish: () => client.finishSend(), cancel: () => client.close() };
		},
	};
}

/** createNice makes calls of nice-grpc-web. */
export function createNice(service, host, transport) {
	const definition = {};
	for (const [name, m] of Object.entries(service.method)) {
		definition[name] = {
			path: `/${service.typeName}/${m.name}`,
			requestStream: m.methodKind === "client_streaming" || m.methodKind === "bidi_streaming",
			responseStream: m.methodKind === "server_streaming" || m.methodKind === "bidi_streaming",
			requestSerialize: (value) => toBinary(m.input, create(m.input, value)),
			responseDeserialize: (bytes) => fromBinary(m.output, bytes),
			options: {},
		};
	}
	const client = createClientFactory().create(definition, createChannel(host, transport));
	return {
		call(name, messages, { metadata = {}, onMessage = () => {}, onHeaders = () => {}, finish = true } = {}) {
			const queue = [...messages];
			let ended = finish;
			let wake = () => {};
			async function* requests() {
				for (;;) {
					while (queue.length > 0) yield queue.shift();
					if (ended) return;
					await new Promise((resolve) => (wake = resolve));
				}
			}
			const abort = new AbortController();
			const got = { messages: [], code: 0, text: "" };
			const md = new Metadata();
			for (const [k, v] of Object.entries(metadata)) md.set(k, k.endsWith("-bin") ? Uint8Array.from(atob(v), (c) => c.charCodeAt(0)) : v);
			const text = (m, name) => {
				const v = m.get(name);
				return v instanceof Uint8Array ? btoa(String.fromCharCode(...v)).replaceAll("=", "") : v;
			};
			const options = {
				metadata: md,
				signal: abort.signal,
				onHeader: (h) => {
					got.header = (name) => text(h, name);
					onHeaders();
				},
				onTrailer: (t) => (got.trailer = (name) => text(t, name)),
			};
			const run = async () => {
				const { requestStream, responseStream } = definition[name];
				const answer = client[name](requestStream ? requests() : messages[0], options);
				const take = (m) => {
					got.messages.push(m);
					onMessage(m);
				};
				if (responseStream) for await (const m of answer) take(m);
				else take(await answer);
			};
			const done = run().then(
				() => got,
				(err) => Object.assign(got, { code: err.code, text: err.details, err }),
			);
			const send = (m) => {
				queue.push(m);
				wake();
			};
			const end = () => {
				ended = true;
				wake();
			};
			return { done, send, finish: end, cancel: () => abort.abort() };
		},
	};
}

// The names that @protobuf-ts has for codes, in the order of their numbers.
const codes = [
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
];

/** createProtobufTs makes calls of a client that @protobuf-ts/plugin has generated. */
export function createProtobufTs(client, transport) {
	client.missing = (input, options) =>
		stackIntercept("unary", transport, { ...client.methods[0], name: "Missing" }, transport.mergeOptions(options), input);
	return {
		call(name, messages, { metadata = {}, onMessage = () => {}, onHeaders = () => {}, finish = true } = {}) {
			const abort = new AbortController();
			const options = { meta: metadata, abort: abort.signal };
			const got = { messages: [], code: 0, text: "" };
			const read = (m) => (name) => m[name]?.replaceAll("=", "");
			const { clientStreaming, serverStreaming, I } = client.methods.find((m) => m.localName === name) ?? client.methods[0];
			const rpc = clientStreaming ? client[name](options) : client[name](I.create(messages[0]), options);
			const take = (m) => {
				got.messages.push(m);
				onMessage(m);
			};
			rpc.headers.then((h) => {
				got.header = read(h);
				onHeaders();
			}, () => {});
			const run = async () => {
				if (serverStreaming) for await (const m of rpc.responses) take(m);
				else take(await rpc.response);
				got.trailer = read(await rpc.trailers);
			};
			const done = run().then(
				() => got,
				(err) => Object.assign(got, { code: codes.indexOf(err.code), text: err.message, trailer: read(err.meta), err }),
			);
			let sent = Promise.resolve();
			const send = (m) => (sent = sent.then(() => rpc.requests.send(I.create(m))).catch(() => {}));
			const end = () => (sent = sent.then(() => rpc.requests.complete()));
			if (clientStreaming) {
				for (const m of messages) send(m);
				if (finish) end();
			}
			return { done, send, finish: end, cancel: () => abort.abort() };
		},
	};
}
