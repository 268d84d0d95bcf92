// Signs WhatsApp's request with your passkey, when you press the button that it shows. It
// sends nothing anywhere: the result is shown and copied, for you to take it back.
(options, words) => {
  const make = (tag, style, text) => {
    const made = document.createElement(tag);
    made.style.cssText = "display: block; margin: 8px 0; font: 16px sans-serif; " + style;
    if (text) made.textContent = text;
    return made;
  };
  const box = make("div", "position: fixed; z-index: 99999; top: 16px; left: 16px; padding: 16px; background: #fff; color: #111; border: 2px solid #006e5a");
  const button = make("button", "padding: 8px 16px", words.sign);
  const note = make("p", "max-width: 320px", "");
  const result = make("textarea", "width: 320px; height: 96px", "");
  result.readOnly = true;
  result.hidden = true;
  button.onclick = async () => {
    try {
      const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
      const credential = await navigator.credentials.get({ publicKey });
      result.value = JSON.stringify(credential);
      result.hidden = false;
      note.textContent = words.take;
      await navigator.clipboard.writeText(result.value);
      note.textContent = words.copied;
    } catch (error) {
      if (!result.value) note.textContent = words.failed + " " + error.message;
    }
  };
  box.append(button, note, result);
  document.body.append(box);
};
