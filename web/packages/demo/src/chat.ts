// The two messages of sluice.demo.v1.Demo/Chat, as protobuf.

/** encodeRequest writes ChatRequest{text}. */
export function encodeRequest(text: string): Uint8Array {
	const utf8 = new TextEncoder().encode(text);
	const length: number[] = [];
	for (let n = utf8.length; ; n >>>= 7) {
		length.push(n > 127 ? (n & 127) | 128 : n);
		if (n <= 127) break;
	}
	return Uint8Array.from([0x0a, ...length, ...utf8]);
}

/** decodeResponse reads ChatResponse{text, number}. */
export function decodeResponse(b: Uint8Array): { text: string; number: number } {
	const message = { text: "", number: 0 };
	let at = 0;
	const varint = () => {
		let n = 0;
		for (let shift = 0; at < b.length; shift += 7) {
			const c = b[at++] as number;
			n += (c & 127) * 2 ** shift;
			if (c < 128) break;
		}
		return n;
	};
	while (at < b.length) {
		const key = varint();
		const value = varint();
		if (key === 0x0a) message.text = new TextDecoder().decode(b.subarray(at, at + value));
		if (key === 0x10) message.number = value;
		if ((key & 7) === 2) at += value;
	}
	return message;
}
