// Reads the request from the address that the service's page has opened, and offers to sign
// it. Other visits to this site are left alone. Any site can open such an address, so nothing
// of it is shown.
const mark = "#passkey=";
if (location.hash.startsWith(mark)) {
  const text = location.hash.slice(mark.length).replaceAll("-", "+").replaceAll("_", "/");
  history.replaceState(null, "", location.pathname + location.search);
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const options = JSON.parse(new TextDecoder().decode(bytes));
  addEventListener("DOMContentLoaded", () => sign(options, words));
}
