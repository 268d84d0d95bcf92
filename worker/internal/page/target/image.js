// Looks at a canvas, an image or a drawing. It is called with the element as this, also
// in shadow trees and frames. k is the selectors, t are the tools.
(function (k, t) {
  "use strict";
  return t.see(this);
})
