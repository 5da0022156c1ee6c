// Saves a chart that the dashboard has drawn itself as a picture.
const PICTURE_STYLES = [
  "fill",
  "stroke",
  "stroke-width",
  "stroke-dasharray",
  "opacity",
  "font-size",
  "font-family",
  "text-anchor",
];

// The picture of a chart as a file of its own, with the colors that it has on the page.
function pictureText(drawn) {
  const copy = drawn.cloneNode(true);
  const copies = [copy, ...copy.querySelectorAll("*")];
  [drawn, ...drawn.querySelectorAll("*")].forEach((element, at) => {
    const style = getComputedStyle(element);
    const rules = PICTURE_STYLES.map((name) => `${name}:${style.getPropertyValue(name)}`);
    copies[at].setAttribute("style", rules.join(";"));
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return new XMLSerializer().serializeToString(copy);
}

function savePlainFigure(drawn, kind, name) {
  const text = pictureText(drawn);
  if (kind === "svg") {
    saveAs(`${name}.svg`, text, "image/svg+xml");
    return;
  }
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [2 * drawn.clientWidth, 2 * drawn.clientHeight];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => saveAs(`${name}.png`, blob, "image/png"));
  };
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
}
