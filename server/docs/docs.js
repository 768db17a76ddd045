// What the page at /docs/ does beyond being read. Without it, nothing is missing but convenience.

// This address was that of the page where calls can be tried; links to a call still lead there.
if (location.hash.startsWith("#/")) location.replace(`api/${location.hash}`);

for (const code of navigator.clipboard ? document.querySelectorAll("pre.code") : []) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button small copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code.querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  code.append(button);
}
