// Keeps the site for the next visit, and says when a newer one is there.

/** Keep the site's files, and tell the visitor once they are kept. */
export async function keepForOffline(note, newer, reload) {
  let serviceWorker, registration;
  try {
    ({ serviceWorker } = navigator); // which throws where a browser may keep nothing
    if (!serviceWorker) return; // as in a private window of some browsers
    const url = new URL("../service-worker.js", import.meta.url);
    registration = await serviceWorker.register(url, { updateViaCache: "none" });
  } catch (error) {
    note.textContent = `It cannot be kept for offline use: ${error.message}`;
    return;
  }
  reload.addEventListener("click", () => {
    if (!registration.waiting) location.reload(); // it took over meanwhile
    serviceWorker.addEventListener("controllerchange", () => location.reload());
    registration.waiting?.postMessage("replace");
  });
  const look = () => (newer.hidden = !(registration.waiting && serviceWorker.controller));
  watch(registration, look);
  look();
  await serviceWorker.ready;
  note.textContent = "It works without a network from now on.";
  document.body.dataset.offline = "true";
}

function watch(registration, look) {
  registration.addEventListener("updatefound", () => {
    registration.installing.addEventListener("statechange", look);
  });
}
