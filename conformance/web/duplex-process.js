// What the package's streams want of Node in a page.
import process from "process/browser.js";
import { Buffer } from "buffer/";
export { process, Buffer };
