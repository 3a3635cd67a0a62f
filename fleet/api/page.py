"""The page at `/`: the devices at a glance. Self-contained; the full console takes its place."""

from __future__ import annotations

from html import escape

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter()

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.4rem .8rem .4rem 0;border-bottom:1px solid #8884}
form{display:flex;gap:.5rem;margin:1rem 0}input{flex:1;font:inherit;padding:.3rem}button{font:inherit}
"""

_SCRIPT = """
const table=document.querySelector("tbody"),note=document.querySelector("#note"),form=document.querySelector("form");
const ago=t=>t?Math.max(0,Math.round(Date.now()/1000-t))+" s ago":"never";
async function show(){
  const token=form.token.value||sessionStorage.token;
  if(!token)return;
  try{
    const answer=await fetch("api/v1/devices?limit=1000",{headers:{Authorization:"Bearer "+token}});
    const body=await answer.json();
    if(!answer.ok){note.textContent=body.detail;return}
    sessionStorage.token=token;note.textContent=body.items.length+(body.next?" or more":"")+" device(s)";
    table.replaceChildren(...body.items.map(d=>{
      const row=document.createElement("tr");
      for(const text of [d.id,d.presence,d.revision??"",d.phase??"",d.reason??"",ago(d.last_seen_at)]){
        const cell=document.createElement("td");cell.textContent=text;row.append(cell)}
      return row}));
  }catch(error){note.textContent="The control plane cannot be reached."}
}
form.onsubmit=event=>{event.preventDefault();show()};show();setInterval(show,3000);
"""


@router.get("/", include_in_schema=False)
def page() -> HTMLResponse:
    """Shows nothing by itself: the devices are read with the token typed in, which stays in the browser's tab."""
    heads = "".join(
        f"<th>{escape(head)}</th>"
        for head in ("Device", "Presence", "Revision", "Phase", "Reason", "Last seen")
    )
    body = (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Outrider</title><style>{_STYLE}</style><h1>Outrider</h1>"
        f"<form><input name=token type=password placeholder='API token' aria-label='API token' autocomplete=off>"
        f"<button>Show devices</button></form><p id=note role=status></p>"
        f"<table><thead><tr>{heads}</tr></thead><tbody></tbody></table><script>{_SCRIPT}</script></html>"
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
    return HTMLResponse(body, headers={"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"})
