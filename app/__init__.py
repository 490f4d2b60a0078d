"""The web page (Gradio); nothing else imports it."""
