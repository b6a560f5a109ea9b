// An RpcTransport of @protobuf-ts/runtime-rpc on a session: generated clients make calls of all four kinds.

import {
	ClientStreamingCall,
	DuplexStreamingCall,
	type MethodInfo,
	mergeRpcOptions,
	RpcError,
	type RpcMetadata,
	type RpcOptions,
	type RpcOutputStream,
	type RpcStatus,
	type RpcTransport,
	ServerStreamingCall,
	UnaryCall,
} from "@protobuf-ts/runtime-rpc";
import { type SessionSource, sessionOf } from "./grpc.js";
import { messageOf } from "./message-of.js";
import type { Call, Session } from "./session.js";
import { Code, codeName, type Status, StatusError, statusOf } from "./status.js";

/** A SessionRpcTransport is an RpcTransport with the session below it, to close it or to change its carrier. */
export interface SessionRpcTransport extends RpcTransport {
	readonly session: Session;
}

/**
 * createRpcTransport makes an RpcTransport for clients that @protobuf-ts/plugin generates, on a session or on one that it makes. The
 * defaults are options of all calls, such as interceptors.
 *
 *     const transport = createRpcTransport({ baseUrl: "https://api.example.com", carriers: createWebSocket() });
 *     const call = new ChatClient(transport).talk();
 *     await call.requests.send({ value: "hello" });
 *     for await (const answer of call.responses) …
 *
 * Who reads responses with for await slows the server down; callbacks are given what comes.
 */
export function createRpcTransport(source: SessionSource, defaults: RpcOptions = {}): SessionRpcTransport {
	const session = sessionOf(source);
	return {
		session,
		mergeOptions: (options) => mergeRpcOptions(defaults, options),
		unary(method, input, options) {
			const { info, headers, status, trailers, response } = createRpc(session, method, options, input);
			return new UnaryCall(method, info, input, headers, response(), status, trailers);
		},
		serverStreaming(method, input, options) {
			const { info, headers, status, trailers, responses } = createRpc(session, method, options, input);
			return new ServerStreamingCall(method, info, input, headers, responses(), status, trailers);
		},
		clientStreaming(method, options) {
			const { info, requests, headers, status, trailers, response } = createRpc(session, method, options);
			return new ClientStreamingCall(method, info, requests, headers, response(), status, trailers);
		},
		duplex(method, options) {
			const { info, requests, headers, status, trailers, responses } = createRpc(session, method, options);
			return new DuplexStreamingCall(method, info, requests, headers, responses(), status, trailers);
		},
	};
}

/** createRpc begins a call, with its request if there is one only, and returns what the library makes its calls of. */
function createRpc<I extends object, O extends object>(
	session: Session,
	method: MethodInfo<I, O>,
	options: RpcOptions,
	input?: I,
) {
	const { meta = {}, timeout, abort, binaryOptions } = options;
	const request = input && method.I.toBinary(input, binaryOptions);
	const call = session.call({
		path: `/${method.service.typeName}/${method.name}`,
		headers: headersOf(meta),
		signal: abort,
		timeoutMs: timeout instanceof Date ? Math.max(0, timeout.getTime() - Date.now()) : timeout,
	});

	if (request) {
		call.send(request).catch(() => {}); // the call has ended, which its status tells
		call.closeSend();
	}

	const errorOf = (status: Status): RpcError => {
		const error = new RpcError(status.message, codeName(status.code), rpcMetadata(status.trailers));
		error.serviceName = method.service.typeName;
		error.methodName = method.name;
		return error;
	};
	const fail = (err: unknown): never => {
		throw err instanceof StatusError ? errorOf(err.status) : err;
	};
	const failWith = (code: number, message: string): never => {
		call.cancel(message);
		throw errorOf(statusOf(code, message));
	};

	const headers = handled(
		call.headers.then(async (h) => {
			const metadata = rpcMetadata(h);
			// A call that ends without headers has none, and has ended then.
			const ended = Object.keys(metadata).length === 0 && (await Promise.race([call.status, undefined]));
			if (ended && ended.code !== Code.ok) throw errorOf(ended);
			return metadata;
		}),
	);
	const ended = handled(
		call.status.then((s) => {
			if (s.code !== Code.ok) throw errorOf(s);
			return s;
		}),
	);

	const messages = call.messages[Symbol.asyncIterator]();
	const next = async (): Promise<O | undefined> => {
		const { done, value } = await messages.next().catch(fail);
		if (done) return undefined;
		try {
			return method.O.fromBinary(value, binaryOptions);
		} catch (err) {
			return failWith(Code.internal, `malformed message: ${messageOf(err)}`);
		}
	};

	return {
		info: meta,
		headers,
		status: handled(ended.then((): RpcStatus => ({ code: codeName(Code.ok), detail: "" }))),
		trailers: handled(ended.then((s) => rpcMetadata(s.trailers))),
		requests: {
			send: async (message: I) => call.send(method.I.toBinary(message, binaryOptions)).catch(fail),
			complete: async () => call.closeSend(),
		},
		/** response is the only one. */
		response: () => handled(only(next, failWith)),
		responses: () => createResponses(next, call),
	};
}

/**
 * only reads a response, of which there is one: gRPC's doc/statuscodes.md has UNIMPLEMENTED for other numbers.
 */
async function only<O>(next: () => Promise<O | undefined>, fail: (code: number, message: string) => never): Promise<O> {
	const response = await next();
	if (response === undefined) return fail(Code.unimplemented, "the server has sent no response");
	if ((await next()) !== undefined) return fail(Code.unimplemented, "the server has sent more than one response");
	return response;
}

/** handled is a promise that nobody has to wait for: an error is in several of a call. */
function handled<T>(promise: Promise<T>): Promise<T> {
	promise.catch(() => {});
	return promise;
}

type Next<O> = (message: O | undefined, error: Error | undefined, complete: boolean) => void;

/**
 * createResponses makes the stream of responses. It takes one when somebody waits for it, or when there are callbacks and no iterator
 * is behind: so it keeps one at most, and the rest is not sent.
 */
function createResponses<O extends object>(next: () => Promise<O | undefined>, call: Call): RpcOutputStream<O> {
	const listeners = new Set<Next<O>>();
	const takers = new Set<Next<O>>(); // those of listeners that want messages
	const waiting: ((result: Promise<IteratorResult<O>>) => void)[] = [];
	let kept: O | undefined; // for an iterator
	let iterated = false;
	let running = false;
	let end: Promise<IteratorResult<O>> | undefined;

	const tell: Next<O> = (...event) => {
		for (const listener of [...listeners]) listener(...event);
	};

	const give = (message: O) => {
		const reader = waiting.shift();
		if (reader) reader(Promise.resolve({ done: false, value: message }));
		else if (iterated || takers.size === 0) kept = message;
		if (kept !== message || iterated) tell(message, undefined, false);
	};

	const finish = (err?: Error) => {
		if (end) return;
		end = handled(err ? Promise.reject(err) : Promise.resolve({ done: true, value: undefined }));
		for (const reader of waiting.splice(0)) reader(end);
		tell(undefined, err, !err);
		listeners.clear();
	};

	/** taken returns what was kept, if nobody iterates: callbacks came late. */
	const taken = () => {
		if (iterated || takers.size === 0) return undefined;
		const message = kept;
		kept = undefined;
		return message;
	};

	const wanted = () => {
		if (end) return false;
		return waiting.length > 0 || (listeners.size > 0 && (!kept || (!iterated && takers.size > 0)));
	};

	const run = async () => {
		if (running) return;
		running = true;
		try {
			while (wanted()) {
				const message = taken() ?? (await next());
				if (message) give(message);
				else finish();
			}
		} catch (err) {
			call.cancel("the client has stopped reading"); // because a callback has thrown, unless the call is over
			finish(err instanceof Error ? err : new Error(String(err)));
		} finally {
			running = false;
		}
	};

	const listen = (listener: Next<O>, takes: boolean) => {
		listeners.add(listener);
		if (takes) takers.add(listener);
		queueMicrotask(run); // not before there is a way to remove it
		return () => {
			listeners.delete(listener);
			takers.delete(listener);
		};
	};

	return {
		onNext: (callback) => listen(callback, true),
		onMessage: (callback) => listen((message) => message && callback(message), true),
		onError: (callback) => listen((_, error) => error && callback(error), false),
		onComplete: (callback) => listen((_message, _error, complete) => complete && callback(), false),
		[Symbol.asyncIterator]() {
			iterated = true;
			return {
				next() {
					const value = kept;
					kept = undefined;
					const result = value
						? Promise.resolve({ done: false, value })
						: (end ?? new Promise<IteratorResult<O>>((resolve) => waiting.push(resolve)));
					void run();
					return result;
				},
			};
		},
	};
}

function headersOf(meta: RpcMetadata): Headers {
	const headers = new Headers();
	for (const [name, values] of Object.entries(meta)) {
		for (const value of typeof values === "string" ? [values] : values) headers.append(name, value);
	}
	return headers;
}

function rpcMetadata(headers: Headers): RpcMetadata {
	const metadata: RpcMetadata = {};
	headers.forEach((value, name) => (metadata[name] = value));
	return metadata;
}
