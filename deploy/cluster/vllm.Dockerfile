# vLLM with the plugin longva_vllm, and vllm-router. Built from the root of the repository; see compose.yaml.
ARG VLLM=v0.33.0
FROM vllm/vllm-openai:${VLLM}
COPY longva_vllm /opt/longva_vllm
RUN pip install --no-cache-dir vllm-router==0.1.17 && \
    pip install --no-cache-dir --no-deps --no-build-isolation /opt/longva_vllm
COPY deploy/cluster/serve.sh /opt/serve.sh
ENTRYPOINT ["sh", "/opt/serve.sh"]
