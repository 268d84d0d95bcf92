// Copies what a canvas, an image or a drawing shows into a PNG, as a data URL.
// It is called with the element as this, also in shadow trees and frames, and
// returns null for what nobody could scan: hidden, faded or covered images, whose
// bitmaps can outlive their codes.
async function () {
  "use strict";
  const smallest = 60; // CSS pixels; a code has at least 29 modules
  const largest = 2000;
  const box = this.getBoundingClientRect();
  if (box.width < smallest || box.height < smallest) return null;

  let opacity = 1;
  for (let e = this; e; e = e.parentElement || (e.getRootNode().host ?? null)) {
    const style = getComputedStyle(e);
    if (style.visibility === "hidden") return null;
    opacity *= Number(style.opacity);
  }
  if (opacity < 0.5) return null;

  // Something with text on it that is within the image is its overlay.
  const over = this.getRootNode().elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
  if (over && !over.contains(this) && !this.contains(over)) {
    const o = over.getBoundingClientRect();
    if (o.width <= box.width && o.height <= box.height && (over.innerText || "").trim() !== "") return null;
  }

  const doc = this.ownerDocument;
  let source = this;
  let width = this.width;
  let height = this.height;
  if (this.localName === "svg") {
    const copy = this.cloneNode(true);
    width = Math.round(2 * box.width);
    height = Math.round(2 * box.height);
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.setAttribute("width", width);
    copy.setAttribute("height", height);
    source = new (doc.defaultView.Image)();
    source.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(new XMLSerializer().serializeToString(copy));
    await source.decode();
  } else if (this.localName === "img") {
    width = this.naturalWidth;
    height = this.naturalHeight;
  }
  if (!(width > 0 && height > 0 && width <= largest && height <= largest)) return null;
  const sheet = doc.createElement("canvas");
  sheet.width = width;
  sheet.height = height;
  const pen = sheet.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(source, 0, 0, width, height);
  return sheet.toDataURL("image/png");
}
