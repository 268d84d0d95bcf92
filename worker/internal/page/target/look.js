// Looks at the picture of the document's code. It runs in the isolated world, where
// the page can't change what the language's own functions do. k is the selectors, t
// are the tools.
(function (k, t) {
  "use strict";

  return {
    // element is the picture that was last looked at, or null.
    element: null,

    // see looks at the picture, and reports whether it is another one than before.
    async see() {
      const code = t.container();
      const element = code ? t.picture(code) : null;
      const moved = element !== this.element;
      this.element = element;
      if (!element) return { shown: "" };
      return { moved, shown: t.cut(code.getAttribute(k.dom.code_attribute)), ...(await t.see(element)) };
    },
  };
})
