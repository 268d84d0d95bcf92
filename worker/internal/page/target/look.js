// Looks at the picture of the document's code. It runs in the isolated world, where
// the page can't change what the language's own functions do. k is the selectors, t
// are the tools.
(function (k, t) {
  "use strict";

  // picture is the element that shows the code, or null.
  const code = t.container();
  return {
    element: code ? t.picture(code) : null,

    async see() {
      return { shown: t.cut(code.getAttribute(k.dom.code_attribute)), ...(await t.see(this.element)) };
    },
  };
})
