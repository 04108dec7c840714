// The page and its Content-Security-Policy as the sources have them. Run alone it checks that the
// hashes in src/server/page.h are those of the page's style and script.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
export const page = readFileSync(root + "src/server/web/index.html", "utf8");

const header = readFileSync(root + "src/server/page.h", "utf8");
const macro = header.slice(header.indexOf("#define NANO_PAGE_CONTENT_SECURITY_POLICY"));
export const policy = [...macro.matchAll(/"(.*?)"/g)].map((part) => part[1]).join("");

function wrongHashes() {
  return ["script", "style"].flatMap((tag) => {
    const all = [...page.matchAll(new RegExp(`<${tag}[^>]*>([^]*?)</${tag}>`, "g"))];
    if (all.length !== 1) return [`expected one <${tag}> in index.html, found ${all.length}`];
    const source = `${tag}-src 'sha256-${createHash("sha256").update(all[0][1]).digest("base64")}'`;
    return policy.includes(source + ";") ? [] : [`src/server/page.h must have "${source}; "`];
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const wrong = wrongHashes();
  wrong.forEach((line) => console.log(line));
  process.exitCode = wrong.length ? 1 : 0;
}
