/* The rating page: asks for a mask, shows it in five views, sends the rating, asks for the next. */
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const at = (id) => document.getElementById(id);
  const buttons = [...document.querySelectorAll("[data-score]")];
  let job = null;
  let seen = false; // all pictures of the job are on the screen
  let since = 0;
  let busy = false;

  async function ask(path, body) {
    const options = body === undefined ? {} : {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    };
    const answer = await fetch(path, options);
    const content = await answer.json();
    if (!answer.ok) {
      const error = new Error(content.error);
      error.status = answer.status;
      throw error;
    }
    return content;
  }

  function element(name, attributes) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function prompt(width, height) {
    if (job.box) {
      const [x0, y0, x1, y1] = job.box;
      const box = { x: x0, y: y0, width: Math.max(x1 - x0, 0), height: Math.max(y1 - y0, 0) };
      return [element("rect", { ...box, class: "under" }), element("rect", { ...box, class: "box" })];
    }
    // The integer is the centre of a pixel; a picture's pixel begins at its corner.
    const [x, y] = job.point;
    return [element("circle", { cx: x + 0.5, cy: y + 0.5, r: Math.max(width, height) / 75, class: "dot" })];
  }

  async function draw() {
    const loading = [];
    for (const svg of document.querySelectorAll(".view svg")) {
      const [x, y, width, height] = svg.dataset.zoomed === "yes" ? job.zoom : [0, 0, job.width, job.height];
      svg.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
      for (const part of svg.querySelectorAll("image, rect.ground")) {
        part.setAttribute("width", job.width);
        part.setAttribute("height", job.height);
        if (part.dataset.layer) {
          loading.push(new Promise((done, failed) => {
            part.onload = done;
            part.onerror = () => failed(new Error("A picture could not be loaded. Reload the page."));
          }));
          part.setAttribute("href", `/jobs/${job.id}/${part.dataset.layer}`);
        }
      }
      svg.querySelector(".prompt").replaceChildren(...prompt(width, height));
    }
    at("prompted").textContent = job.box ? "the box" : "the blue dot";
    await Promise.all(loading);
  }

  function say(text) {
    at("said").textContent = text;
  }

  function complain(text) {
    at("problem").textContent = text;
    at("problem").hidden = !text;
  }

  async function show(answer, before) {
    job = answer.job;
    seen = false;
    const { done, total, mine } = answer.progress;
    at("progress").max = Math.max(total, 1);
    at("progress").value = done;
    at("counted").textContent = `${done} of ${total} rated, ${mine} by you`;
    at("work").hidden = job === null;
    at("finished").hidden = job !== null;
    if (job === null) {
      at("finished").textContent = done >= total ? "Everything is rated. Thank you!"
        : "There is nothing left for you: others are rating what remains. Reload the page later to see whether something came back.";
      return;
    }
    for (const button of buttons) button.classList.toggle("before", Number(button.dataset.score) === before);
    await draw();
    seen = true;
    since = performance.now();
  }

  /* One thing at a time: a key that is pressed twice must not rate the next mask. */
  async function once(work) {
    if (busy) return;
    busy = true;
    for (const button of buttons) button.disabled = true;
    try {
      await work();
      complain("");
    } catch (error) {
      const lost = error instanceof TypeError ? "The server does not answer: nothing was lost, try again." : error.message;
      if (error.status === 409) {
        try {
          await show(await ask("/api/job"));
        } catch { /* the first problem is said */ }
      }
      complain(lost);
    } finally {
      busy = false;
      for (const button of buttons) button.disabled = !seen;
    }
  }

  const rate = (score) => once(async () => {
    if (!seen) return;
    const seconds = Math.round(performance.now() - since) / 1000;
    const answer = await ask("/api/rating", { job: job.id, score, seconds });
    say(`${answer.saved} is saved.${answer.job && answer.job.empty ? " The next mask is empty." : ""}`);
    await show(answer);
  });

  const undo = () => once(async () => {
    const answer = await ask("/api/undo", {});
    say(answer.undone === null ? "There is nothing to undo." : `The ${answer.undone} is taken back: rate the mask again.`);
    await show(answer, answer.undone);
  });

  for (const button of buttons) button.addEventListener("click", () => rate(Number(button.dataset.score)));
  at("undo").addEventListener("click", undo);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.matches("input, textarea")) return;
    if (/^[0-9]$/.test(event.key)) rate(Number(event.key) || 10);
    else if (event.key === "u" || event.key === "U") undo();
    else if (event.key === "g" || event.key === "G") at("guidelines").open = !at("guidelines").open;
    else return;
    event.preventDefault();
  });

  try {
    at("guidelines").open = localStorage.getItem("guidelines") !== "closed";
    at("guidelines").addEventListener("toggle", () => localStorage.setItem("guidelines", at("guidelines").open ? "open" : "closed"));
  } catch { /* a browser without storage shows them each time */ }

  once(async () => show(await ask("/api/job")));
})();
