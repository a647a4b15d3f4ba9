"""The page: ``intp-video app``. Only ``page`` knows Gradio; everything else is tested without it.

showing     a video as it was sampled, and what it will take
desk        the one model, at which pages take turns
exchange    a question and its answers as they come;  background: work whose news can be followed
frames      the sampled frames, drawn;  answers: questions and answers, drawn
page        what stands where, and what a click does
"""
