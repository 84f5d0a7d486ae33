// What a picture that was saved here carries: all that it was drawn by.

const KEYWORD = "diffusion-trainer";

// The settings in the bytes of a PNG; `null` where there are none.
export function recipe(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < 8 || view.getUint32(0) !== 0x89504e47) return null;
  for (let at = 8; at + 12 <= buffer.byteLength;) {
    const length = view.getUint32(at);
    const type = new TextDecoder("latin1").decode(new Uint8Array(buffer, at + 4, 4));
    if (at + 12 + length > buffer.byteLength) return null;
    if (type === "iTXt") {
      // Keyword, two bytes that say that nothing is compressed, language and translation, each with an end of its own.
      const data = new Uint8Array(buffer, at + 8, length);
      const end = data.indexOf(0);
      const language = data.indexOf(0, end + 3);
      const translation = data.indexOf(0, language + 1);
      if (new TextDecoder().decode(data.subarray(0, end)) === KEYWORD && data[end + 1] === 0) {
        try {
          return JSON.parse(new TextDecoder().decode(data.subarray(translation + 1)));
        } catch {
          return null;
        }
      }
    }
    at += 12 + length;
  }
  return null;
}
