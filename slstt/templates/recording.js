// A click on an interval plays it in the video; the video shows on the timeline where it is.
const video = document.querySelector("video"), line = document.querySelector("svg.timeline");
const slow = document.getElementById("slow"), now = line.querySelector(".now");
const first = +line.dataset.first, last = +line.dataset.last, wide = line.viewBox.baseVal.width;
const around = 0.3; // seconds before the onset and after the offset
let end = Infinity;

function play(onset, offset) {
  video.currentTime = Math.max(0, onset - around);
  video.playbackRate = slow.checked ? 0.25 : 1;
  end = offset + around;
  video.play().catch(() => {});
}

for (const link of document.querySelectorAll("[data-onset]"))
  link.addEventListener("click", () => play(+link.dataset.onset, +link.dataset.offset));

line.addEventListener("click", (event) => {
  if (event.target.closest("[data-onset]")) return;
  const box = line.getBoundingClientRect();
  end = Infinity;
  video.currentTime = first + (last - first) * (event.clientX - box.left) / box.width;
});

function follow() {
  if (video.currentTime >= end) {
    end = Infinity;
    video.pause();
    video.playbackRate = 1;
  }
  const x = wide * (video.currentTime - first) / (last - first);
  now.setAttribute("transform", `translate(${Math.min(Math.max(x, 0), wide)} 0)`);
  now.setAttribute("visibility", "visible");
  if (!video.paused) requestAnimationFrame(follow);
}
for (const what of ["play", "seeked", "timeupdate"]) video.addEventListener(what, follow);
