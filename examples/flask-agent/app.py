"""An agent in plain Flask: it imports nothing of Switchboard. The sidecar posts each message to it.

pip install flask
flask --app examples/flask-agent/app.py run --port 8001 &
switchboard dev --http sentiment=8001
switchboard send sentiment "What a lovely, lovely day"
"""

from flask import Flask, Response, request

GOOD = {"good", "lovely", "great", "thanks", "happy"}
BAD = {"bad", "awful", "angry", "sad", "late"}

app = Flask(__name__)


@app.post("/agents/<agent>/execute")
def execute(agent: str) -> Response | tuple[Response, int]:
    """Tell the mood of a text. A 4xx is the caller's fault and final; 503 would be tried on another instance."""
    words = [word.strip(".,!?").lower() for word in request.get_data(as_text=True).split()]
    if not words:
        return Response("a text is wanted", mimetype="text/plain"), 400
    score = sum((word in GOOD) - (word in BAD) for word in words)
    mood = "glad" if score > 0 else "sad" if score < 0 else "calm"
    return Response(f"{agent} says: {mood}", mimetype="text/plain")
