/** messageOf is what an error says. */
export function messageOf(err: unknown): string {
	return err instanceof Error ? err.message || err.name : String(err);
}
