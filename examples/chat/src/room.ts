import type { MessageInitShape } from "@bufbuild/protobuf";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createWritableIterable } from "@connectrpc/connect/protocol";
import { createSluiceTransport } from "@sluice-rpc/client/connect";
import { useEffect, useRef, useState } from "react";
import { Chat, type TalkRequestSchema, type TalkResponse } from "./gen/chat_pb";

const client = createClient(Chat, createSluiceTransport({ baseUrl: location.origin }));

type Words = ReturnType<typeof createWritableIterable<MessageInitShape<typeof TalkRequestSchema>>>;

/** useRoom is in the room as long as the component is on the page: one call, on which both sides talk. */
export function useRoom() {
	const [lines, setLines] = useState<TalkResponse[]>([]);
	const [problem, setProblem] = useState("");
	const words = useRef<Words>(undefined);

	useEffect(() => {
		const leave = new AbortController();
		const up: Words = createWritableIterable();
		words.current = up;
		const listen = async () => {
			try {
				for await (const line of client.talk(up, { signal: leave.signal })) setLines((all) => [...all, line]);
				setProblem("The room is closed.");
			} catch (err) {
				if (!leave.signal.aborted) setProblem(ConnectError.from(err).message);
			}
		};
		void listen();
		return () => leave.abort();
	}, []);

	const say = (name: string, text: string) => void words.current?.write({ name, text });
	return { lines, problem, say };
}
